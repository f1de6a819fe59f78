// Which key was meant. A Thai layout writes no Latin letter, and signs where others have digits: there a key is known
// by its place, so that the same fingers choose the same answer whatever the keyboard is set to.
function meant(event) {
    if (/^[a-z0-9]$/i.test(event.key)) return event.key.toLowerCase();
    if (event.shiftKey || !event.code) return event.key;
    const place = /^(?:Key|Digit)([A-Z0-9])$/.exec(event.code);
    if (place) return place[1].toLowerCase();
    const sign = { Minus: "-", Equal: "=" }[event.code];
    return sign && !/^[\x20-\x7e]$/.test(event.key) ? sign : event.key;
}
