; Commands for the subscriber: SECONDS sub TOPIC [GROUP] and SECONDS unsub TOPIC [GROUP].
; SECONDS is how long to wait before the command, counted from the previous one.

0 sub #hello
0 sub orders.>

; From here on #hello is no longer printed; orders still are.
30 unsub #hello
