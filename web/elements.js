/**
 * @file Elements: the parts of a page that its script works with.
 *
 * Belongs here: what every page does with them. Does not: what they show (-> player/page.js, publisher/page.js, grid/page.js).
 */

/**
 * The first element of a selector; the page has it, or is not ours.
 * @template {Element} T
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T}
 */
export function find(selector, type) {
  const element = document.querySelector(selector);
  if (!(element instanceof type)) throw new Error(`page lacks ${selector}`);
  return element;
}

/**
 * Unchanged text is not written again, so that a screen reader says it once.
 * @param {HTMLElement} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
