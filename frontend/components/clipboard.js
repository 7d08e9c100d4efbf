// Copies `data.text`; shows a tick for a moment.

const COPY =
  '<path d="M9 9h10v10H9z"/><path d="M15 9V5H5v10h4"/>';
const DONE = '<path d="m5 12.5 4.5 4.5L19 7.5"/>';
const SHOWN_MS = 1500;

async function copy(text) {
  if (navigator.clipboard?.writeText) return navigator.clipboard.writeText(text);
  // Pages that are not served over HTTPS have no clipboard API.
  const area = document.createElement('textarea');
  area.value = text;
  area.style.position = 'fixed';
  area.style.opacity = '0';
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}

export default function ({ data, parentElement }) {
  let button = parentElement.querySelector('button');
  if (!button) {
    button = document.createElement('button');
    button.type = 'button';
    parentElement.append(button);
  }
  const show = (path, label) => {
    button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true">${path}</svg>`;
    button.title = label;
    button.setAttribute('aria-label', label);
  };
  show(COPY, data.label);
  button.onclick = async () => {
    await copy(data.text);
    show(DONE, data.done);
    setTimeout(() => show(COPY, data.label), SHOWN_MS);
  };
}
