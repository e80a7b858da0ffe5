const canvas = document.createElement("canvas"); canvas.width = canvas.height = 1;
const paint = canvas.getContext("2d", {willReadFrequently: true});
const rgba = (text) => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = text; paint.fillRect(0, 0, 1, 1);
                         return Array.from(paint.getImageData(0, 0, 1, 1).data); };
const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => { for (let e = element; e; e = e.parentElement) {
    const colour = rgba(getComputedStyle(e).backgroundColor); if (colour[3] === 255) return colour; } return [255, 255, 255]; };
const results = [];
for (const element of document.querySelectorAll("body *")) {
    const words = Array.from(element.childNodes).some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!words || element.closest(".frame, script") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), svg = element instanceof SVGElement;
    const pair = [light(rgba(svg ? style.fill : style.color)), light(behind(element))].sort((a, b) => b - a);
    results.push([(pair[0] + 0.05) / (pair[1] + 0.05), element.tagName + " " + element.textContent.trim().slice(0, 30)]);
}
return results;
