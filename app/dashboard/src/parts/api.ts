// Requests to the service, and the stream of its events.
import type { Session } from '../types'

export class Refused extends Error {
  status: number
  hint: string
  constructor(status: number, text: string, hint = '') {
    super(text)
    this.status = status
    this.hint = hint
  }
}

let csrf = ''

async function read<T>(response: Response): Promise<T> {
  let content: { error?: string; hint?: string } = {}
  try {
    content = await response.json()
  } catch {
    // a proxy answered, or the connection ended
  }
  if (!response.ok) throw new Refused(response.status, content.error ?? response.statusText, content.hint)
  return content as T
}

export async function session(): Promise<Session> {
  const found = await read<Session>(await fetch('/api/session'))
  csrf = found.csrf ?? ''
  return found
}

export async function get<T>(path: string): Promise<T> {
  return read<T>(await fetch(path))
}

export async function post<T>(path: string, content: unknown): Promise<T> {
  const headers = { 'content-type': 'application/json', 'x-csrf-token': csrf }
  return read<T>(await fetch(path, { method: 'POST', headers, body: JSON.stringify(content) }))
}

export async function login(name: string, password: string): Promise<Session> {
  const found = await post<Session>('/api/login', { name, password })
  csrf = found.csrf ?? ''
  return found
}

export async function sendImage<T>(file: File): Promise<T> {
  const headers = {
    'content-type': 'application/octet-stream',
    'x-csrf-token': csrf,
    'x-file-name': encodeURIComponent(file.name),
  }
  return read<T>(await fetch('/api/images', { method: 'POST', headers, body: file }))
}

export interface Wish {
  topics: string[]
  filter?: Record<string, string>
}

export interface Listener {
  event: (topic: string, content: unknown) => void
  connection: (problem: Problem | null) => void
}

export interface Problem {
  kind: 'login' | 'refused' | 'lost'
  text: string
}

const RETRY_MS = [500, 1000, 2000, 5000]

// A stream that reconnects until it is stopped. fetch instead of EventSource, which hides the reason of a refusal.
export function stream(wish: Wish, listener: Listener): () => void {
  const abort = new AbortController()
  void follow(wish, listener, abort.signal)
  return () => abort.abort()
}

async function follow(wish: Wish, listener: Listener, signal: AbortSignal): Promise<void> {
  const query = new URLSearchParams({ topics: wish.topics.join(','), ...wish.filter })
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      const response = await fetch(`/events?${query}`, { signal, headers: { accept: 'text/event-stream' } })
      if (!response.ok || !response.body) await read(response)
      listener.connection(null)
      failures = 0
      await parse(response.body as ReadableStream<Uint8Array>, listener.event)
      if (!signal.aborted) listener.connection({ kind: 'lost', text: '' })
    } catch (error) {
      if (signal.aborted) return
      listener.connection(problem(error))
      if (error instanceof Refused && error.status === 401) return
    }
    await pause(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] ?? 5000, signal)
  }
}

function problem(error: unknown): Problem {
  if (!(error instanceof Refused)) return { kind: 'lost', text: '' }
  return { kind: error.status === 401 ? 'login' : 'refused', text: error.message }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
  })
}

async function parse(body: ReadableStream<Uint8Array>, event: Listener['event']): Promise<void> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    rest += decoder.decode(value, { stream: true })
    const blocks = rest.split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) dispatch(block, event)
  }
}

function dispatch(block: string, event: Listener['event']): void {
  const end = block.indexOf('\n')
  if (!block.startsWith('event: ') || end < 0) return
  event(block.slice(7, end), JSON.parse(block.slice(end + 7)))
}
