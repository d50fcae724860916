ARG A
RUN echo
FROM scratch
