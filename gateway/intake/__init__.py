"""From bytes of a stranger to pixels that may travel on.

`formats` reads headers and refuses before a pixel is decoded; `decoders` runs `pixels` and
`quality` in processes of their own, with limits; `photo` is the one door to all of it.
Nothing but pixels leaves this room: no metadata, no file name, no encoded byte.
"""
