# syntax=docker/dockerfile:1
# an ordinary comment

  # an indented one
FROM scratch
RUN one && \
    # a comment inside
    two \

    && three # not a comment
run lower   case
	RUN tab before
