FROM scratch
RUN ["a", "b c"]
RUN ['not', 'json']
RUN ["unfinished"
CMD ["x", "y\u0041"]
ENTRYPOINT [ "/e" ]
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN echo $SHELL
VOLUME ["/a b", "/c"]
COPY ["a b", "c", "/d e/"]
