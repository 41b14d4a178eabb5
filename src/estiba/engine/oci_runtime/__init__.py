"""The OCI runtime face: containers of bundles that other engines write, as `runc` runs them (runtime-spec, runtime.md).

One file per verb, and what they share: `config` (config.json, checked), `mount_options`, `plan` and `process_plan` (config.json -> the
helper's operations), `cgroups`, `state` (what is on disk of a container), `hooks`, `creation` (the helper, and what it says).
Here the bundle decides: nothing of estiba's own defaults is added, and nothing of config.json is left out in silence.
"""
