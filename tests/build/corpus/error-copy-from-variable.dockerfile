ARG S=a
FROM scratch
COPY --from=$S /x /y
