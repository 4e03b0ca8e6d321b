; Commands for the subscriber: SECONDS sub TOPIC [GROUP] and SECONDS unsub TOPIC [GROUP].
; SECONDS is how long to wait before the command, counted from the previous one.

0   sub #hello
0   sub orders.>
0   sub weather.*

; From here on the weather is no longer printed; the rest still is.
0.5 unsub weather.*
