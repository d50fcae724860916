FROM scratch
ENV NAME=world
COPY <<hello.txt /etc/
hello $NAME, ${NAME:+you}
 "quotes" stay and \$NAME does too
hello.txt
COPY <<"raw" <<-chomped /dir/
$NAME
raw
	without tab $NAME
	chomped
ADD --chmod=644 <<E plain /mixed/
x
E
