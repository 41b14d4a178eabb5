"""The use cases, one file per verb: the only room where the registry meets the store and the store meets the runtime.

A verb is a function of the same name (`import_` where Python keeps the word). It takes the opened store, then the settings
where the helper runs, then what the user said; it returns plain data that the command line prints and a program can use.
Nothing here writes to standard output.
"""
