// Keeps the page current and takes keys. The page is complete without it.
'use strict';
(() => {
  const body = document.body;
  const strip = document.getElementById('strip');
  const find = document.getElementById('find');
  const pause = document.getElementById('pause');
  const byId = (id) => document.getElementById(id);

  // The master's clock, as far as we know it: times are told by it, not by this machine's.
  let skew = body.dataset.now ? Number(body.dataset.now) - Date.now() : 0;

  // ---- Times: "3 min ago", the full time on hover.
  const UNITS = [['s', 1], ['min', 60], ['h', 3600], ['d', 86400]];
  function rough(seconds) {
    let [word, size] = UNITS[0];
    for (const [w, s] of UNITS) if (seconds >= s) [word, size] = [w, s];
    return `${Math.floor(seconds / size)} ${word}`;
  }
  function relate(root) {
    const now = Date.now() + skew;
    for (const time of root.querySelectorAll('time[data-ms]')) {
      const at = Number(time.dataset.ms);
      const seconds = Math.abs(now - at) / 1000;
      const text = seconds < 1 ? 'now' : at > now ? `in ${rough(seconds)}` : `${rough(seconds)} ago`;
      if (time.textContent === text) continue;
      time.textContent = text;
      if (!time.dataset.told) {
        time.dataset.told = '1';
        time.title = `${new Date(at).toLocaleString()}\n${time.title}`;
      }
    }
  }

  // ---- Filter: rows that do not have the typed text in them are hidden.
  function filter() {
    const wanted = find.value.trim().toLowerCase();
    for (const row of document.querySelectorAll('table.rows tbody tr')) {
      row.hidden = wanted !== '' && !row.textContent.toLowerCase().includes(wanted);
    }
  }
  const isSearch = location.pathname === '/search';
  find.addEventListener('input', () => { if (!isSearch) filter(); });

  // ---- Copy.
  function offerCopies(root) {
    for (const button of root.querySelectorAll('button[data-copy]')) button.hidden = false;
  }
  document.addEventListener('click', async (event) => {
    const button = event.target.closest('button[data-copy]');
    if (!button) return;
    const text = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'copied';
    } catch {
      // Without TLS a browser gives no clipboard: select it, so that the usual key copies.
      const code = button.parentElement.querySelector('code');
      getSelection().selectAllChildren(code);
      button.textContent = 'selected';
    }
    setTimeout(() => { button.textContent = 'copy'; }, 1500);
  });

  // ---- Changes.
  const template = document.createElement('template');
  function element(html) {
    template.innerHTML = html;
    return template.content.firstElementChild;
  }
  function put(id, html, isNew) {
    const old = byId(id);
    const now = element(html);
    if (old) {
      if (old.classList.contains('here')) now.classList.add('here');
      const focused = old.contains(document.activeElement) && document.activeElement.getAttribute('href');
      old.replaceWith(now);
      if (focused) now.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    } else if (isNew) {
      now.classList.add('new');
    }
    return now;
  }
  function change({ blocks, tables }) {
    for (const [id, html] of blocks) if (byId(id)) put(id, html, false);
    for (const { id, order, rows } of tables) {
      const table = byId(id);
      if (!table) continue;
      const fresh = new Map(rows.map(([row, html]) => [row, put(row, html, true)]));
      if (!order) continue;
      // Walk both: what is in its place stays untouched, so that nothing on the screen moves without a reason.
      let at = table.firstElementChild;
      const wanted = new Set(order);
      for (const row of [...table.children]) {
        if (!wanted.has(row.id)) {
          if (row === at) at = at.nextElementSibling;
          row.remove();
        }
      }
      for (const row of order) {
        const is = fresh.get(row) || byId(row);
        if (is === at) at = at.nextElementSibling;
        else if (is) table.insertBefore(is, at);
      }
    }
    offerCopies(document);
    relate(document);
    if (find.value && !isSearch) filter();
  }

  // ---- The stream of changes. Closed while nobody looks; what has been seen goes along when it opens again.
  let seen = body.dataset.seen;
  let heard = Date.now();
  let source = null;
  let retry = 1000;
  let timer = 0;
  let paused = false;
  let trouble = '';
  function listen() {
    clearTimeout(timer);
    if (!body.dataset.live || source || paused || document.hidden) return;
    source = new EventSource(`${body.dataset.live}&seen=${encodeURIComponent(seen)}`);
    let told = false;
    const on = (name, act) => source.addEventListener(name, (event) => {
      // Trouble is heard, and makes nothing on the page any younger.
      if (name !== 'trouble') heard = Date.now();
      if (event.lastEventId) seen = event.lastEventId;
      act(event.data);
      draw();
    });
    on('change', (data) => { trouble = ''; retry = 1000; change(JSON.parse(data)); });
    on('beat', (data) => { trouble = ''; retry = 1000; skew = Number(data) - Date.now(); });
    on('trouble', (data) => { trouble = JSON.parse(data); told = true; });
    on('reload', () => location.reload());
    source.onerror = () => {
      deafen();
      if (!told) ask();
      // Ours, not the browser's: it gives up on an answer that is not a stream, such as that of a master that starts.
      timer = setTimeout(listen, retry);
      retry = Math.min(retry * 2, 10000);
      draw();
    };
  }
  // A stream that is refused at the door does not say why. What else is behind it does.
  async function ask() {
    let status = 0;
    try {
      ({ status } = await fetch('/assets/icon.svg', { method: 'HEAD', cache: 'no-store' }));
    } catch {
      // Nobody is there.
    }
    trouble = status === 401
      ? 'the master does not know the token of this browser. Load the page again to give it another one.'
      : '';
    draw();
  }
  function deafen() {
    if (source) source.close();
    source = null;
  }
  const SILENCE = 12000;
  function draw() {
    const age = Math.round((Date.now() - heard) / 1000);
    let text = '';
    if (paused) text = `Paused. What you see is ${age} s old.`;
    else if (!body.dataset.live || document.hidden) text = '';
    else if (trouble) text = `Not current: ${trouble}`;
    else if (!source || Date.now() - heard > SILENCE) text = `Disconnected, retrying. What you see is ${age} s old.`;
    strip.hidden = text === '';
    if (strip.textContent !== text) strip.textContent = text;
  }

  // ---- Logs.
  const ESCAPE = /\x1b\[([0-9;]*)m|\x1b\[[0-9;?]*[A-Za-ln-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]|\x1b./g;
  const LOG_MAX = 2000000;
  function log(pre) {
    const name = pre.dataset.log;
    const state = document.querySelector(`[data-log-state="${name}"]`);
    let end = Number(pre.dataset.end);
    let ended = false;
    let length = 0;
    let classes = [];
    let rest = '';
    function say(text) {
      if (ended) return;
      state.textContent = text;
      state.classList.toggle('trouble', !['live', 'complete', 'paused'].includes(text));
    }
    function style(codes) {
      for (const code of (codes || '0').split(';').map(Number)) {
        if (code === 0) classes = [];
        else if (code === 1) classes.push('bold');
        else if (code === 2) classes.push('dim');
        else if (code === 4) classes.push('underline');
        else if (code === 22) classes = classes.filter((c) => c !== 'bold' && c !== 'dim');
        else if (code === 39) classes = classes.filter((c) => !/^c\d$/.test(c));
        else if (code >= 30 && code <= 37 || code >= 90 && code <= 97) {
          classes = [...classes.filter((c) => !/^c\d$/.test(c)), `c${code % 10}`];
        }
      }
    }
    function write(text) {
      const atEnd = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
      text = rest + text;
      // An escape sequence that was cut in two waits for its second half.
      const cut = text.lastIndexOf('\x1b');
      rest = cut >= 0 && text.length - cut < 12 && !/^\x1b(\[[0-9;?]*[A-Za-z]|[^[\]])/.test(text.slice(cut)) ? text.slice(cut) : '';
      if (rest) text = text.slice(0, cut);
      const into = document.createDocumentFragment();
      const piece = (plain) => {
        if (!plain) return;
        length += plain.length;
        if (classes.length === 0) { into.append(plain); return; }
        const span = document.createElement('span');
        span.className = [...new Set(classes)].join(' ');
        span.textContent = plain;
        into.append(span);
      };
      let from = 0;
      for (const match of text.matchAll(ESCAPE)) {
        piece(text.slice(from, match.index));
        if (match[1] !== undefined) style(match[1]);
        from = match.index + match[0].length;
      }
      piece(text.slice(from));
      pre.append(into);
      while (length > LOG_MAX && pre.firstChild) {
        length -= pre.firstChild.textContent.length;
        pre.firstChild.remove();
        pre.dataset.cut = '';
      }
      if (atEnd) pre.scrollTop = pre.scrollHeight;
    }
    const before = pre.textContent;
    pre.textContent = '';
    write(before);
    pre.scrollTop = pre.scrollHeight;
    return {
      name,
      query: () => (ended ? '' : `${name}=${end}`),
      say,
      // Why it does not flow is worth more than that it does not.
      lost: (text) => { if (state.textContent === 'live') say(text); },
      take: (data) => {
        end = data.end;
        write(data.text);
        say(data.ended ? 'complete' : 'live');
        ended = data.ended;
        pre.toggleAttribute('data-ended', ended);
      },
    };
  }
  const logs = [...document.querySelectorAll('pre[data-log]')].map(log);
  const logsAt = document.querySelector('[data-logs]')?.dataset.logs;
  let logStream = null;
  let logTimer = 0;
  let logRetry = 1000;
  function follow() {
    clearTimeout(logTimer);
    const query = logs.map((one) => one.query()).filter(Boolean).join('&');
    if (!query || logStream || paused || document.hidden) return;
    logStream = new EventSource(`${logsAt}?${query}`);
    for (const one of logs) {
      logStream.addEventListener(one.name, (event) => {
        logRetry = 1000;
        one.take(JSON.parse(event.data));
        if (!logs.some((any) => any.query())) unfollow();
      });
    }
    logStream.addEventListener('trouble', (event) => {
      const [name, why] = JSON.parse(event.data);
      for (const one of logs) if (one.name === name) one.say(why);
    });
    logStream.onerror = () => {
      // It also ends so when the agent had to let go of it.
      unfollow();
      for (const one of logs) one.lost('disconnected, retrying');
      logTimer = setTimeout(follow, logRetry);
      logRetry = Math.min(logRetry * 2, 30000);
    };
  }
  function unfollow() {
    if (logStream) logStream.close();
    logStream = null;
  }

  function wake() { listen(); follow(); draw(); }
  function rest() { clearTimeout(timer); clearTimeout(logTimer); deafen(); unfollow(); }
  document.addEventListener('visibilitychange', () => { if (document.hidden) rest(); else wake(); });
  addEventListener('pagehide', rest);
  // Streams hold connections, of which a browser has few: the page that follows gets ours. Whoever stays gets them back.
  addEventListener('beforeunload', () => { rest(); timer = setTimeout(wake, 2000); });
  addEventListener('pageshow', (event) => { if (event.persisted) wake(); });
  if (body.dataset.live) pause.hidden = false;
  pause.addEventListener('click', () => {
    paused = !paused;
    pause.textContent = paused ? 'Go on' : 'Pause';
    if (paused) { rest(); for (const one of logs) one.say('paused'); draw(); } else wake();
  });

  // ---- Keys.
  const help = byId('help');
  byId('keys').hidden = false;
  byId('keys').addEventListener('click', () => help.showModal());
  let went = false;
  function step(by) {
    const rows = [...document.querySelectorAll('table.rows tbody tr:not([hidden])')];
    if (rows.length === 0) return;
    const old = rows.findIndex((row) => row.classList.contains('here'));
    const now = Math.max(0, Math.min(rows.length - 1, old < 0 ? 0 : old + by));
    rows[old]?.classList.remove('here');
    rows[now].classList.add('here');
    rows[now].scrollIntoView({ block: 'nearest' });
  }
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.target === find) {
      if (event.key === 'Escape') { find.value = ''; filter(); find.blur(); }
      return;
    }
    const key = event.key;
    if (went) {
      went = false;
      const link = document.querySelector(`nav a[data-key="${CSS.escape(key)}"]`);
      if (link) location.href = link.href;
      return;
    }
    if (key === '/') { event.preventDefault(); find.focus(); find.select(); }
    else if (key === 'g') { went = true; setTimeout(() => { went = false; }, 1500); }
    else if (key === 'j') step(1);
    else if (key === 'k') step(-1);
    else if (key === '?') help.showModal();
    else if (key === 'Enter' && event.target === body) document.querySelector('tr.here th a, tr.here a')?.click();
  });

  offerCopies(document);
  relate(document);
  setInterval(() => { if (!document.hidden) { relate(document); draw(); } }, 1000);
  wake();
})();
