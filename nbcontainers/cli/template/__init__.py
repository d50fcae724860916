"""Go's text templates, which ``--format`` takes: their syntax, the values that Docker gives them, functions, and the run of one.

Source: pkg.go.dev/text/template; Docker's own functions: docs.docker.com/engine/cli/formatting.
"""
