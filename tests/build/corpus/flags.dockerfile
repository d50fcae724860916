FROM scratch
COPY --chown=1:2 --chmod=755 --link a b /c/
COPY --link=false --chown='user name' a /d
RUN --network=none --security=sandbox echo offline
RUN --network=default -- --not-a-flag
COPY -- a b
