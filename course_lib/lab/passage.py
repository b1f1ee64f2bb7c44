"""A text to measure with: plain English, written for this course, long enough for a few hundred tokens."""

PASSAGE = """\
The ferry to the island ran twice a day, and Mara had missed the first one. She sat down on a crate beside the \
ticket office and watched the harbour wake up. Two men were mending a net that hung between them like a curtain. \
A boy carried buckets of ice from a cart to the fish market, spilling a little on every trip, so that a thin line \
of water ran behind him across the stones. Nobody was in a hurry. The clock above the customs house had stopped \
years ago at ten past four, and the people of the town had agreed, without ever saying so, to leave it that way.

The woman in the ticket office kept a ledger. It was a thick book with a green spine, and in it she wrote the name \
of every passenger, the hour of the crossing and the state of the sea. When Mara asked why, she turned the book \
around and pointed at the first page. Her grandfather had begun it, she said, after a storm in which a boat went \
down and nobody could tell who had been on board. Since then the family had written down every name. They had \
never needed it again. But a question that has once been asked without an answer stays in a house for a long time.

Mara read for a while. Most of the lines were dull, and that was the beauty of them. A baker had crossed every \
Monday for eleven years. A doctor had gone over at midnight and come back at noon. One spring a wedding party of \
forty people had filled two pages, and next to their names someone had drawn a small fish. In the margins there \
were notes about the wind, about the price of diesel, about a seal that followed the boat for most of a summer and \
then, one morning, did not.

At half past one the horn sounded. The woman took her pen, wrote the date at the top of a new line, and asked for \
a name. Mara gave it. The ink was still wet when the ledger closed. On the water the light had turned white and \
flat, and the island lay on it like a folded coat. She stood at the rail and counted the gulls until she lost \
count, and began again from one. Behind her the town grew small: first the boy with the buckets, then the net, \
then the clock that was right twice a day, and at last only the roof of the ticket office, where a line in a green \
book now said that she had passed.
"""
