// A form is sent once: a second click, or a second Enter, before the answer is there would make a second key that
// nobody ever sees, or have a decision refused that was just taken. What a script sends looks after this itself, and
// has stopped the event before it comes here.
const AGAIN_MS = 10_000;  // where no page follows: the answer was a file, or the network lost it
let sent = new WeakSet();
document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    if (sent.has(form)) { event.preventDefault(); return; }
    sent.add(form);
    setTimeout(() => sent.delete(form), AGAIN_MS);
});
// What is shown once came as the answer to a form. Reloading it would send the form again, and make another key of which
// nobody knows: a reload opens what comes after it.
document.addEventListener("DOMContentLoaded", () => {
    const shown = document.querySelector("[data-shown-once]");
    if (shown) history.replaceState(history.state, "", shown.dataset.shownOnce);
});
window.addEventListener("pageshow", () => { sent = new WeakSet(); });  // the browser shows a page as it was left
