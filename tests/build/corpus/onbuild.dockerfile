FROM scratch AS base
ONBUILD RUN echo triggered
ONBUILD COPY a /b
ENV A=1
FROM base AS child
RUN own
FROM child
RUN not triggered again
