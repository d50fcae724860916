FROM scratch AS one
CMD ["kept"]
ENTRYPOINT ["e"]
FROM one AS two
ENTRYPOINT exec shell form
FROM two
ENTRYPOINT []
CMD []
