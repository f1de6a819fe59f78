// What a page is called by whoever hears it, or reads it on a telephone.
document.addEventListener("DOMContentLoaded", () => {
    // The theme's boxes that scroll are regions with an English name. They are made when the page is read, of what
    // stands on them; this is heard before.
    const name = document.querySelector("[data-scrolls]")?.dataset.scrolls;
    if (name) for (const box of document.querySelectorAll("[data-simplebar]")) box.setAttribute("data-simplebar-aria-label", name);
    // Its icons are English words in a font of their own: "deployed_code Versions" is what would be read out.
    for (const icon of document.querySelectorAll(".material-symbols-outlined")) icon.setAttribute("aria-hidden", "true");
    // Where somebody is, the side bar says by a colour.
    document.querySelector("#nav-sidebar a.active")?.setAttribute("aria-current", "page");
    // On a card each line is named as the list's column is, which begins with a capital and has no others.
    for (const cell of document.querySelectorAll(".data-row [data-label]")) {
        const label = cell.dataset.label;
        cell.dataset.label = label.charAt(0).toUpperCase() + label.slice(1);
        // A column has a place for what a row lacks; a card needs none.
        cell.classList.toggle("is-nothing", cell.textContent.trim() === "–");
    }
});
