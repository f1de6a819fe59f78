// Which key was meant. A Thai layout writes no Latin letter, and signs where others have digits: there a key is known
// by its place, so that the same fingers choose the same answer whatever the keyboard is set to. A Thai digit says itself:
// where a layout has it, it stands elsewhere than ours.
const THAI_DIGITS = "๐๑๒๓๔๕๖๗๘๙";
function meant(event) {
    if (/^[a-z0-9]$/i.test(event.key)) return event.key.toLowerCase();
    const digit = event.key.length === 1 ? THAI_DIGITS.indexOf(event.key) : -1;
    if (digit >= 0) return String(digit);
    if (event.shiftKey || !event.code) return event.key;
    const place = /^(?:Key|Digit)([A-Z0-9])$/.exec(event.code);
    if (place) return place[1].toLowerCase();
    const sign = { Minus: "-", Equal: "=" }[event.code];
    return sign && !/^[\x20-\x7e]$/.test(event.key) ? sign : event.key;
}
