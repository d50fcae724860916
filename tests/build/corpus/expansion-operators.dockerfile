FROM scratch
ENV V=a/b/c.tar.gz EMPTY=
ENV D1=${NONE:-dash} D2=${EMPTY-set} D3=${EMPTY:-empty} P1=${V:+plus} P2=${NONE+none} \
    H1=${V#*/} H2=${V##*/} T1=${V%.*} T2=${V%%.*} R1=${V/\//-} R2=${V//\//-} N=${NONE:-${V##*/}}
WORKDIR /${V%%/*}/$EMPTY
USER ${NONE:-nobody}:${NONE:-nogroup}
STOPSIGNAL ${NONE:-SIGINT}
EXPOSE ${NONE:-80} 443/udp
VOLUME /$V
COPY --chown=$EMPTY$D1 --chmod=${NONE:-0750} src/$EMPTY* $V/
RUN echo $V stays
CMD echo $V
