FROM busybox AS base
COPY a.txt /1file
COPY a.txt /2dir/
COPY a.txt b.txt /3two/
COPY dir /4dir
COPY dir/ /5dir/
COPY dir dir2 /6merged/
COPY *.txt /7wild/
COPY d* /8wilddirs/
COPY flink /9link
COPY dlink /10dlink
COPY slink/d /11through
COPY dir/up /12up
COPY --chown=app:wheel dir /13chown/deep
COPY --chown=1234 a.txt /14num/x
COPY --chown=app a.txt /15name/
COPY --chmod=711 dir /16chmod
COPY --chown=55:66 a.txt /new1/new2/new3
COPY . /17all
RUN mkdir -p /18/sub /18/dirs && ln -s /18/sub /18/ln && echo old > /18/sub/d && chmod 700 /18/sub && chown 5:5 /18 /18/sub
COPY dir /18
COPY a.txt /18/ln
COPY a.txt /18/ln/
COPY dir2 /18/dirs
COPY nomatch* /19nothing/
COPY a.txt b.txt /20noslash
WORKDIR /21/wd
COPY a.txt .
COPY a.txt rel
USER app
WORKDIR owned/deep
COPY a.txt byuser
FROM base
USER root
COPY --from=0 /13chown /22from
COPY --from=base --chown=7 /13chown/deep/c /23from
COPY --from=0 /bin/[l]s /24ls
COPY --from=0 /18/l* /25links/

RUN cd / && find 1* 2* 3* 4* 5* 6* 7* 8* 9* new1 | sort | while read f; do stat -c '%A %u:%g %Y %N' "$f"; done
