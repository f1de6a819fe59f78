// Whoever leaves a page on which they have written something asks for it to be lost: a reason, a note, what they expect of
// an experiment. What is ticked or chosen is done again in a moment, and nothing is asked for that.
const WRITTEN = "textarea, [data-note]";
let goes = false;  // by the browser or by a script: what is written is on its way to the console, or is kept by `kept.js`

document.addEventListener("submit", () => { goes = true; }, true);
document.addEventListener("input", () => { goes = false; }, true);
window.addEventListener("pageshow", () => { goes = false; });
window.addEventListener("beforeunload", (event) => {
    const fields = [...document.querySelectorAll(WRITTEN)].filter((field) => field.form?.method === "post");
    if (!goes && fields.some((field) => field.value.trim() !== field.defaultValue.trim())) event.preventDefault();
});
