FROM scratch
MAINTAINER Some One <one@example.com>
LABEL a=1 b="two words"
USER 1000:1000
EXPOSE 80 443/tcp 53/UDP 8000-8002
VOLUME /data /log
STOPSIGNAL 9
SHELL ["/bin/ash", "-c"]
CMD shell form
HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=1.5s --retries=3 CMD curl -f "http://localhost"
HEALTHCHECK CMD ["check", "it"]
HEALTHCHECK NONE
