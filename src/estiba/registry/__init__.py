"""The distribution-spec client: authentication, verified blob streams, uploads. It knows no store.

`transport` speaks HTTP to one origin, `auth` answers challenges, `session` joins the two with retries and redirects,
`blobs` and `uploads` move content, `client` is the face. `credentials` is Docker's config.json.
"""
