"""Of each fault that `syncserver doctor` finds, what it means and what to do about it."""

from collections.abc import Mapping

from syncserver.app import held
from syncserver.storage.diagnosis import Fault

_MEND = "`syncserver doctor --mend` records a fresh change of the row, which every device gets"
_AGAIN = (
    "if it is still so once the client has caught up, make it start without a cursor;"
    " a client that verifies is told so by the server"
)
_TRIGGERS = (
    "`ALTER TABLE .. ENABLE TRIGGER ALL`, or put the migration's back if it was dropped; then mend. A write that left"
    " its stamp as it was cannot be seen from here: if there may be such, `syncserver rotate-epoch`"
)
_HOMES = (
    "bring back from a backup what it belongs to, and `syncserver doctor` is content; or remove it by SQL if that is to"
    " be gone"
)
_CONSTRAINT = (
    "mend every owner; then `ALTER TABLE .. VALIDATE CONSTRAINT`, `.. ENABLE TRIGGER ALL`, or put back what the"
    " migration made"
)
OF: Mapping[str, tuple[str, str]] = {
    Fault.NO_ENTRY: ("no device is ever told of this row", _MEND),
    Fault.NO_ROW: ("the row went past the triggers: devices show a row that is not there", _MEND),
    Fault.NOT_REMOVED: ("the row came past the triggers: devices were told that it is gone", _MEND),
    Fault.STAMP: ("the row was changed past the triggers: devices hold an older state of it", _MEND),
    Fault.DEVICE: ("the row was changed past the triggers: devices may hold an older state of it", _MEND),
    Fault.ABOVE_HEAD: ("devices are not told how far they are, and the next writes take the same offset", _MEND),
    Fault.OFFSET_TWICE: ("a device that holds the one may never get the other", _MEND),
    Fault.BELOW_FLOOR: ("a removal that should have been forgotten; it does no harm, and goes by itself", _MEND),
    Fault.HEAD: (
        "the owner's place in the log was set back, so offsets may have been given twice",
        "`syncserver doctor --mend` raises it; then `syncserver rotate-epoch`, if devices were connected since",
    ),
    Fault.TRIGGER: (
        "writes to this table reach no device",
        _TRIGGERS,
    ),
    Fault.HOME_REMOVED: (
        "what the row belongs to was removed, and it should have gone with that",
        "`syncserver doctor --mend` removes it, and every device is told",
    ),
    Fault.HOME_LOST: (
        "what the row belongs to is not there, and nobody removed it: no list shows the row",
        "`syncserver doctor --mend` makes that again, empty, so that the row is kept; fill it from a backup",
    ),
    Fault.HOMELESS: ("what the row belongs to is not there, and cannot be made up: no list shows the row", _HOMES),
    Fault.KEY: (
        "the row's key is none, or says something else than its columns: routes and devices cannot name it",
        "set right by SQL the column that is wrong, or write the row anew under a good key and remove this one",
    ),
    Fault.RANK: (
        "nothing can be put before or after the row in its sequence",
        "`syncserver doctor --mend` gives the sequence new ranks, in the order in which it is shown",
    ),
    Fault.NUMBER: (
        "a number that a removed row had will be given again, and offline edits of the one may reach the other",
        "`syncserver doctor --mend` remembers the number",
    ),
    Fault.IMPORT: (
        "whoever ran this import is gone; nothing of it was kept, and its client waits for it",
        "`syncserver doctor --mend` says that it failed; the client may begin it again",
    ),
    Fault.CONSTRAINT: (
        "the database takes rows that are wrong, or holds some already",
        _CONSTRAINT,
    ),
    held.Fault.MISSING: ("the client lacks a row", _AGAIN),
    held.Fault.TOO_MANY: ("the client shows a row that is gone", _AGAIN),
    held.Fault.ANOTHER: ("the client holds another version of the row", _AGAIN),
}
"""For each fault what it means and what to do."""
