"""`zpctl`: the command line, over the one typed client and the one local service.

__main__    which module holds which command
app         global options, and the edge where errors become exit codes
terminal    what the terminal can show
glyphs      signs, or words for them
render      lines from values, purely; `live` shows them
follow      one run from its event stream to its end
"""
