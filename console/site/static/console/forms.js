// Of a form that was refused: what has to be put right is read first, and each line of it leads to its field.
document.addEventListener("DOMContentLoaded", () => {
    const errors = document.querySelector("[data-errors]");
    if (!errors) return;
    errors.addEventListener("click", (event) => {
        const part = event.target.closest("a") && document.querySelector(`#${CSS.escape(event.target.closest("a").hash.slice(1))}`);
        if (!part) return;
        event.preventDefault();
        (part.matches("input, select, textarea") ? part : part.querySelector("input, select, textarea") ?? part).focus();
    });
    errors.focus();
});

// Where many boxes may be ticked: all of them or none by one click, and how many are.
document.addEventListener("DOMContentLoaded", () => {
    for (const row of document.querySelectorAll("[data-all-of]")) {
        const boxes = [...document.getElementsByName(row.dataset.allOf)], said = row.querySelector("[data-said]");
        const count = () => {
            said.textContent = said.dataset.said.replace("{chosen}", boxes.filter((box) => box.checked).length).replace("{all}", boxes.length);
        };
        const tick = (ticked) => {
            for (const box of boxes) box.checked = ticked;
            count();
        };
        row.querySelector("[data-tick]").addEventListener("click", () => tick(true));
        row.querySelector("[data-untick]").addEventListener("click", () => tick(false));
        for (const box of boxes) box.addEventListener("change", count);
        count();
        row.hidden = false;  // without a script it would do nothing
    }
});

// What opens over a list's filters: a list of choices, the theme's calendar, its clock.
window.opensWithinFilters = () => [...document.querySelectorAll(".select2-container--open, .calendarbox, .clockbox")]
    .some((part) => part.checkVisibility());

// The theme's calendar counts years as calendars abroad do. Thai pages count them in the Buddhist era: over its days, too,
// and in what it writes into its box. It opens at a day of either era, as forms take both (`console.instants`).
const ERA_YEARS = 543, YEAR_OF_THE_ERA = /(?<!\d)2[4-9]\d\d(?!\d)/;
const gregorian = (text) => text.replace(YEAR_OF_THE_ERA, (year) => year - ERA_YEARS);
const inEra = (text) => (document.documentElement.lang === "th" ? text.replace(/\d{4}/, (year) => Number(year) + ERA_YEARS) : text);
document.addEventListener("DOMContentLoaded", () => {  // the calendars are made when all has come
    const { DateTimeShortcuts: theirs, CalendarNamespace: days } = window;
    if (!theirs || !days) return;
    const { openCalendar, handleCalendarCallback, handleCalendarQuickLink } = theirs, { draw } = days;
    const boxOf = (number) => theirs.calendarInputs[number];
    const written = (number) => { boxOf(number).value = inEra(boxOf(number).value); };
    days.draw = (month, year, id, ...more) => {
        draw(month, year, id, ...more);
        const caption = document.querySelector(`#${id} caption`);
        caption.textContent = inEra(caption.textContent);
    };
    theirs.openCalendar = (number) => {
        const typed = boxOf(number).value;
        boxOf(number).value = gregorian(typed);
        openCalendar(number);
        boxOf(number).value = typed;
    };
    theirs.handleCalendarCallback = (number) => {
        const choose = handleCalendarCallback(number);
        return (...day) => { choose(...day); written(number); };
    };
    theirs.handleCalendarQuickLink = (number, offset) => { handleCalendarQuickLink(number, offset); written(number); };
});

// The calendar and the clock lie over the whole window and stand at the end of the page: the keyboard went on behind them.
// It is led into them, kept there while they are open, and back to where they were opened from.
let opener = null;
function leadIntoBox() {
    const box = opener && document.getElementById(opener.id.replace("link", "box"));
    if (!box) return;
    const now = document.activeElement;
    if (box.checkVisibility()) {
        if (!box.contains(now)) (box.querySelector(":is(.selected, .today) a") ?? box.querySelector(":is(td, li) a")).focus();
        return;
    }
    if (now === document.body || box.contains(now)) opener.focus();
    opener = null;
}
// Django's own listeners end the event; what they did is there when all of them have run.
document.addEventListener("click", (event) => {
    opener = event.target.closest("[id^=calendarlink], [id^=clocklink]") ?? opener;
    setTimeout(leadIntoBox);
}, true);
document.addEventListener("keyup", () => setTimeout(leadIntoBox), true);
