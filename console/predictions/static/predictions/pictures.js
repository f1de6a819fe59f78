// The slider under a photograph sets how strongly the heat map covers it.
for (const slider of document.querySelectorAll("[data-opacity]")) {
    const heat = slider.closest("[data-heat]").querySelector(".p-heat");
    const apply = () => { heat.style.opacity = slider.value / 100; };
    slider.addEventListener("input", apply);
    apply();
}
