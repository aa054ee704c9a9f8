// The image pipeline as a flow, upload by drag and drop, and what became of the images.
import { useRef, useState } from 'preact/hooks'
import type { JSX } from 'preact'
import { PartBanner, State } from '../parts/banners'
import { sendImage } from '../parts/api'
import { ago, bytes, number } from '../parts/format'
import { has, t } from '../parts/i18n'
import { useKnown } from '../parts/store'
import { of, Timeline } from './trace'
import type { Fleet, Image, PipelineWorker } from '../types'
import { useSeconds } from './sensors'

const previews = new Map<string, string>() // of images sent from this page, by id
const KINDS: Record<Image['state'], string> = {
  sending: 'idle', queued: 'warn', working: 'accent', done: 'ok', dead: 'bad', rejected: 'bad', unknown: 'idle',
}

export function ImagesView({ trace }: { trace: string }): JSX.Element {
  const { fleet, images, session, records } = useKnown()
  const shown = [...images.values()].reverse()
  return (
    <>
      <h1>{t('images')}</h1>
      <PartBanner part="prometheus" name="Prometheus" />
      <PartBanner part="images" name={t('images')} />
      <Flow pipeline={fleet?.pipeline ?? null} images={shown} />
      {session?.role === 'operator' ? <Drop /> : <p class="muted">{t('only_operators')}</p>}
      <h2>{t('sent_images')}</h2>
      {!shown.length && <p class="empty">{t('no_images')}</p>}
      <ul class="images">
        {shown.map((image) => (
          <ImageCard key={image.id} image={image} open={image.trace === trace}>
            {image.trace === trace && <Timeline records={of(trace, records)} />}
          </ImageCard>
        ))}
      </ul>
    </>
  )
}

function Drop(): JSX.Element {
  const input = useRef<HTMLInputElement>(null)
  const [over, setOver] = useState(false)
  const [error, setError] = useState('')
  const send = async (files: FileList | null | undefined) => {
    setError('')
    for (const file of files ?? []) {
      try {
        const image = await sendImage<Image>(file)
        previews.set(image.id, URL.createObjectURL(file))
        if (location.hash.startsWith('#/images')) location.hash = `#/images?trace=${image.trace}`
      } catch (reason) {
        setError(t('failed', { text: (reason as Error).message }))
      }
    }
  }
  return (
    <div
      class={over ? 'drop over' : 'drop'}
      onDragOver={(event) => { event.preventDefault(); setOver(true) }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault()
        setOver(false)
        void send(event.dataTransfer?.files)
      }}
    >
      <p>{t('drop')}</p>
      <label class="button">
        {t('choose')}
        <input ref={input} type="file" class="hidden" accept="image/*" multiple onChange={() => {
          void send(input.current?.files).then(() => { if (input.current) input.current.value = '' })
        }} />
      </label>
      <p class="muted small">{t('drop_hint')}</p>
      <p class="error" role="alert">{error}</p>
    </div>
  )
}

function ImageCard({ image, open, children }: { image: Image; open: boolean; children: JSX.Element | false }): JSX.Element {
  const now = useSeconds()
  const before = previews.get(image.id)
  const key = `img_${image.state}`
  return (
    <li class="panel image">
      <div class="thumbs">
        <figure>
          {before ? <img src={before} alt="" /> : <span class="none">{t('no_preview')}</span>}
          <figcaption>{t('before')}</figcaption>
        </figure>
        <span aria-hidden="true" class="arrow">→</span>
        <figure>
          <After image={image} />
          <figcaption>{t('after')}</figcaption>
        </figure>
      </div>
      <div class="about">
        <h3>{image.name}</h3>
        <p><State kind={KINDS[image.state] ?? 'idle'}>{has(key) ? t(key) : image.state}</State>{' '}
          <span class="muted small">{bytes(image.size)} · {ago(now - image.at)} · {t('by', { name: image.user })}
            {image.worker ? ` · ${image.worker}` : ''}</span></p>
        {image.reason && <p class="error">{image.reason}</p>}
        {image.url && <p class="muted small break">{t('stored_at', { url: image.url })}</p>}
        <p class="small">
          <a href={open ? '#/images' : `#/images?trace=${image.trace}`} aria-expanded={open}>{t('trace')}</a>
          {' '}<a class="mono" href={`#/trace/${image.trace}`}>{image.trace}</a>
        </p>
        {children}
      </div>
    </li>
  )
}

function After({ image }: { image: Image }): JSX.Element {
  const [failed, setFailed] = useState(false)
  if (image.state !== 'done' || failed) return <span class="none">{failed ? t('no_preview') : '…'}</span>
  return <img src={`/api/images/${image.id}/result`} alt="" onError={() => setFailed(true)} />
}

type Pipeline = Fleet['pipeline']

function Flow({ pipeline, images }: { pipeline: Pipeline | null; images: Image[] }): JSX.Element {
  const workers = Object.entries(pipeline?.workers ?? {})
  const figure = (value: number | null | undefined) => (value == null ? t('unknown_figure') : number(value))
  const working = pipeline?.working ?? sum(workers, 'working')
  const dead = pipeline?.dead ?? sum(workers, 'dead')
  const moving = images.some((image) => ['sending', 'queued', 'working'].includes(image.state))
  const label = t('flow_label', { queue: figure(pipeline?.queue), working: figure(working), dead: figure(dead) })
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <svg class="flow" viewBox="0 0 860 190" role="img" aria-label={label}>
        <g class={moving || (pipeline?.queue ?? 0) > 0 || (working ?? 0) > 0 ? 'pipes moving' : 'pipes'}>
          <path d="M112 70H158M290 70H336M468 70H514M646 70H692" />
          <path d="M580 112V150H626" />
        </g>
        <Box x={0} width={112} title={t('clients')} value="" />
        <Box x={158} width={132} title={t('producer')} value={figure(pipeline?.accepted)} word={t('accepted')} />
        <Box x={336} width={132} title={t('queue')} value={figure(pipeline?.queue)} word={t('waiting_images')}
          hot={(pipeline?.queue ?? 0) > 0} />
        <Box x={514} width={132} title={`${t('workers')} ${workers.length || ''}`} value={figure(working)}
          word={t('in_progress')} />
        <Box x={692} width={168} title={t('store')} value={figure(sum(workers, 'converted'))} word={t('stored')} />
        <g transform="translate(626 132)">
          <rect class={dead ? 'box bad' : 'box'} width="234" height="38" rx="8" />
          <text x="14" y="24">{t('dead_letters')}</text>
          <text x="220" y="25" class="figure" text-anchor="end">{figure(dead)}</text>
        </g>
        <Depth depth={pipeline?.queue ?? 0} />
      </svg>
    </div>
  )
}

function sum(workers: [string, PipelineWorker][], name: keyof PipelineWorker): number | null {
  const values = workers.map(([, worker]) => worker[name]).filter((value) => value !== undefined)
  return values.length ? values.reduce((total, value) => total + value, 0) : null
}

interface BoxProps {
  x: number
  width: number
  title: string
  value: string
  word?: string
  hot?: boolean
}

function Box({ x, width, title, value, word, hot }: BoxProps): JSX.Element {
  return (
    <g transform={`translate(${x} 28)`}>
      <rect class={hot ? 'box hot' : 'box'} width={width} height="84" rx="8" />
      <text x="14" y={value ? 24 : 47} class={value ? 'title' : 'title only'}>{title}</text>
      {value && <text x="14" y="52" class="figure">{value}</text>}
      {word && <text x="14" y="71" class="word">{word}</text>}
    </g>
  )
}

// Images in the queue as a stack above its box, 24 at most.
function Depth({ depth }: { depth: number }): JSX.Element {
  return (
    <g class="depth">
      {Array.from({ length: Math.min(24, depth) }, (_, i) => (
        <rect key={i} x={338 + (i % 12) * 11} y={i < 12 ? 16 : 6} width="8" height="7" rx="1.5" />
      ))}
    </g>
  )
}
