"""The store: images, layers and containers as files, safe against crashes and shared by any number of processes.

    ROOT/                       $ESTIBA_ROOT, mode 0700: nobody else reaches the setuid programs of a layer
      images/                   an OCI image layout (image-spec, image-layout.md)
        oci-layout              its version, and the version of the store
        index.json              derived from refs/, for other tools
        blobs/sha256/<hex>      manifests, indexes, configurations; compressed layers where a setting keeps them
        refs/<name>             one small JSON file per reference: the truth about tags (store/references.py)
      layers/<hex>/             one unpacked layer, by DiffID (store/layers/)
      files/                    what sharing of files between layers needs (store/layers/)
      containers/<id>/          state.json names the image and the layers that the container stands on
      containers/names/<name>   one entry per container name
      ingest/                   what is being written; nothing else may hold unverified bytes
      trash/                    trees that were renamed away and wait to be emptied
      cache/                    derived, may be removed at any time
      locks/                    lock files, empty

**Publishing.** Write in ``ingest/``, fsync, verify, rename into place, fsync the folder (`publish`, `blobs`). Whoever makes an
entry in ``ingest/`` holds flock(2) on it, file or folder, until it is renamed or removed; an entry that nobody locks is a
dead process's and is swept. Order: blobs and layers before the reference that leads to them.

**What is kept.** A blob or layer is in use when a reference or a container's state.json leads to it. An image that loses its last
name keeps a reference of its own, ``@<manifest digest>`` (Docker's ``<none>``), until it is removed.

**Locks**, in the order in which they may be taken:

1. ``content``: shared by everybody who relies on blobs or layers that no reference leads to yet (a pull for its whole
   length, a run until its state.json is written); exclusive by garbage collection and repair. `Store.using`, `Store.collecting`.
2. ``index``: index.json is being derived. `references.write_index`.
3. ``reference``: a reference is being changed.
4. ``layer-<hex>``: a layer is being made or removed (store/layers/).
5. ``container-<id>``, 6. ``network``: their rooms'.

Reading needs no lock: a published file is complete and never changes, a reference is replaced in one rename.
"""
