"use strict";
const $ = id => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const element = (tag, props, ...children) => {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...children);
  return made;
};

// --- copying -------------------------------------------------------------------------------
async function copy(text, button, shown) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // not allowed from a file in some browsers
    getSelection().selectAllChildren(shown);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
}
for (const button of all(".command button")) {
  const code = button.previousElementSibling;
  button.onclick = () => copy(code.textContent, button, code);
}
