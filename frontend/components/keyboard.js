// Keys of the chat page.
//
// Enter while a Hangul syllable is still being composed. Browsers differ in what they send then:
//   a) keydown Enter (composing), compositionend, keydown Enter       Streamlit sends on the second
//   b) keydown Enter (composing), compositionend, keyup Enter         Streamlit sends never: the
//                                                                     person has to press twice
// Here b) sends too, when the key is released, once. Only Hangul: in Japanese and Chinese Enter
// picks a candidate and must not send.
//
// Ctrl+K (Cmd+K) goes to the search, as in the chat pages people know.

const HANGUL = /[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]$/;
const INPUT = '[data-testid="stChatInputTextArea"]';
const SEND = '[data-testid="stChatInputSubmitButton"]';
const SEARCH = '.st-key-search input';

let composed = null; // the input whose syllable an Enter ended, until that key is released

function onKeyDown(event) {
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === 'k') {
    const search = document.querySelector(SEARCH);
    if (search) {
      event.preventDefault();
      search.focus();
    }
    return;
  }
  const isEnter = event.key === 'Enter' || event.code === 'Enter' || event.code === 'NumpadEnter';
  if (!isEnter || !event.target.matches?.(INPUT)) return;
  const isPlain = !event.shiftKey && !event.ctrlKey && !event.metaKey;
  composed = event.isComposing && isPlain ? event.target : null;
}

function onKeyUp(event) {
  if (event.code !== 'Enter' && event.code !== 'NumpadEnter' && event.key !== 'Enter') return;
  const input = composed;
  composed = null;
  if (!input || event.target !== input || event.isComposing) return;
  if (HANGUL.test(input.value.trimEnd())) document.querySelector(SEND)?.click();
}

export default function ({ data }) {
  let frame = 0;
  const nameSend = () => {
    const send = document.querySelector(SEND);
    if (send) send.setAttribute('aria-label', data.sendLabel);
    else frame = requestAnimationFrame(nameSend); // the box is drawn a moment later
  };
  document.addEventListener('keydown', onKeyDown, true);
  document.addEventListener('keyup', onKeyUp, true);
  nameSend();
  return () => {
    cancelAnimationFrame(frame);
    document.removeEventListener('keydown', onKeyDown, true);
    document.removeEventListener('keyup', onKeyUp, true);
  };
}
