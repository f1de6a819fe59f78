// To a screen reader the theme's boxes that scroll are regions with an English name. They are made when the page is
// read, of what stands on them; this is heard before.
document.addEventListener("DOMContentLoaded", () => {
    const name = document.querySelector("[data-scrolls]")?.dataset.scrolls;
    if (name) for (const box of document.querySelectorAll("[data-simplebar]")) box.setAttribute("data-simplebar-aria-label", name);
});
