FROM scratch
ENV one two three
ENV A=1 B="two words" C=three\ words D='single $A' E=
ENV A=2 F=$A G=${A}x
ENV A "quoted"
ENV PATH=/x:$PATH
LABEL "com.example"="v" multi="a \
b" plain=word
