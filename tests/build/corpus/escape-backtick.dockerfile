# escape=`
FROM scratch
WORKDIR C:\windows\`
path
ENV A=`$B C="`"" D='`'
RUN echo \
