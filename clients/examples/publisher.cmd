; Commands for the publisher: SECONDS pub TOPIC MESSAGE.
; SECONDS is how long to wait before the command, counted from the previous one.

3   pub #hello This is the first message
1   pub #hello This is the second message,  with  its  inner  spaces  kept
0.5 pub orders.eu.created {"order": 1, "amount": 9.95}
0   pub orders.us.created {"order": 2, "amount": 12.00}
0   pub weather.eu Nobody subscribes to this: it is confirmed all the same
