// The shared list: every browser sees the others' changes.
import { useRef, useState } from 'preact/hooks'
import type { JSX } from 'preact'
import { PartBanner } from '../parts/banners'
import { post } from '../parts/api'
import { clock, number } from '../parts/format'
import { t } from '../parts/i18n'
import { useKnown } from '../parts/store'
import type { SharedList } from '../types'

export function ListView(): JSX.Element {
  const { list, session } = useKnown()
  const [error, setError] = useState('')
  const operator = session?.role === 'operator'
  const change = async (request: Record<string, unknown>): Promise<boolean> => {
    setError('')
    try {
      await post('/api/list', request)
      return true
    } catch (reason) {
      setError(t('failed', { text: (reason as Error).message }))
      return false
    }
  }
  return (
    <>
      <h1>{t('list')}</h1>
      <PartBanner part="list" name={t('list')} />
      {operator ? <Editor change={change} /> : <p class="muted">{t('only_operators')}</p>}
      <p class="error" role="alert">{error}</p>
      {list && (
        <div class="split">
          <Elements list={list} remove={operator ? (value) => void change({ op: 'remove', value }) : null} />
          <Changes list={list} />
        </div>
      )}
    </>
  )
}

function Editor({ change }: { change: (request: Record<string, unknown>) => Promise<boolean> }): JSX.Element {
  const [value, setValue] = useState('')
  const [position, setPosition] = useState('')
  const field = useRef<HTMLInputElement>(null)
  const submit = async (event: Event) => {
    event.preventDefault()
    const request = position === '' ? { op: 'append', value } : { op: 'insert', value, position: Number(position) }
    if (!(await change(request))) return
    setValue('')
    field.current?.focus()
  }
  return (
    <form class="row" onSubmit={(event) => void submit(event)}>
      <label class="grow">
        {t('element')}
        <input ref={field} value={value} required maxLength={1000} onInput={(event) => setValue(event.currentTarget.value)} />
      </label>
      <label>
        {t('position')}
        <input class="narrow" type="number" step="1" value={position}
          onInput={(event) => setPosition(event.currentTarget.value)} />
      </label>
      <button type="submit">{position === '' ? t('append') : t('insert')}</button>
    </form>
  )
}

function Elements({ list, remove }: { list: SharedList; remove: ((value: string) => void) | null }): JSX.Element {
  const partial = list.elements.length < list.length
  return (
    <section class="panel" aria-label={t('list')}>
      <h2>{list.list} <small class="muted">
        {t('elements', { count: number(list.length), version: number(list.version) })}
        {partial ? `, ${t('shown_first', { count: list.elements.length })}` : ''}
      </small></h2>
      {!list.elements.length && <p class="empty">{t('empty_list')}</p>}
      <ol class="elements" start={0}>
        {list.elements.map((element, index) => (
          <li key={`${index} ${element}`}>
            <span class="index">{index}</span>
            <span class="text">{element}</span>
            {remove && (
              <button type="button" class="plain" aria-label={t('remove_element', { value: element })}
                onClick={() => remove(element)}>{t('remove')}</button>
            )}
          </li>
        ))}
      </ol>
    </section>
  )
}

function Changes({ list }: { list: SharedList }): JSX.Element {
  const changes = [...list.changes].reverse()
  return (
    <section class="panel" aria-label={t('changes')}>
      <h2>{t('changes')}</h2>
      {!changes.length && <p class="empty">{t('no_changes')}</p>}
      <ol class="changes">
        {changes.map((one) => (
          <li key={one.version}>
            <span class="muted mono">{clock(Date.parse(one.time))}</span> <span>{one.text}</span>
          </li>
        ))}
      </ol>
    </section>
  )
}
