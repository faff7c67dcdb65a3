"""The commands: parse, call the library, render.  Nothing here imports torch at import time."""
