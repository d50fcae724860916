FROM scratch AS Build
COPY src /src
RUN make
FROM scratch AS unused
RUN never
FROM debian AS other
RUN other
FROM scratch
COPY --from=build /out /bin/
COPY --from=2 /x /x
COPY --from=busybox:musl /bin/busybox /bin/sh
COPY --from=busybox:musl /etc /etc
