//! Records and the frames in them.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use tracemq_store::Batch;

use super::{EventV1, GapV1, Identity, patch, take};

const MARKER: [u8; 4] = *b"TMQ\xb1";
const RECORD_HEAD_BYTES: usize = 16;
const FRAME_HEAD_BYTES: usize = 8;
const BODY_BYTES_MAX: usize = (1 << 24) - 1;
const KIND_EVENT: u8 = 1;
const KIND_GAP: u8 = 2;

/// The batch is larger than the format can hold: an event of 16 MiB, or 4 GiB in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Where a frame stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FramePlace {
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

/// What stands in a frame.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are events, and none lives for long")]
pub(crate) enum Frame<'a> {
    Event(EventV1<'a>),
    Gap(tracemq_model::Gap),
}

/// Makes the record of `batch`, to be written at `offset`, in `out`; and the places of its events, in their order, in
/// `places`. Replaces what stood in both.
pub(crate) fn encode_batch(
    batch: &Batch,
    identity: &Identity,
    offset: u64,
    out: &mut Vec<u8>,
    places: &mut Vec<FramePlace>,
) -> Result<(), TooLarge> {
    out.clear();
    places.clear();
    out.resize(RECORD_HEAD_BYTES, 0);
    for event in &batch.events {
        places.push(push_frame(out, identity, offset, KIND_EVENT, &EventV1::of(event))?);
    }
    for gap in &batch.gaps {
        push_frame(out, identity, offset, KIND_GAP, &GapV1::of(gap))?;
    }
    let (head, payload) = out.split_at_mut(RECORD_HEAD_BYTES);
    let length = u32::try_from(payload.len()).map_err(|_| TooLarge)?;
    patch(head, 0, &MARKER);
    patch(head, 4, &length.to_le_bytes());
    patch(head, 8, &crc32fast::hash(payload).to_le_bytes());
    let checksum = identity.checksum(offset, head.get(..12).unwrap_or_default());
    patch(head, 12, &checksum.to_le_bytes());
    Ok(())
}

fn push_frame(
    out: &mut Vec<u8>,
    identity: &Identity,
    record_offset: u64,
    kind: u8,
    body: &impl Serialize,
) -> Result<FramePlace, TooLarge> {
    let start = out.len();
    out.resize(start + FRAME_HEAD_BYTES, 0);
    // Writing to memory can't fail.
    postcard::serialize_with_flavor(body, Appending(out)).map_err(|_| TooLarge)?;
    let length = out.len() - start;
    let body_length = length - FRAME_HEAD_BYTES;
    if body_length > BODY_BYTES_MAX {
        return Err(TooLarge);
    }
    let offset = record_offset + u64::try_from(start).map_err(|_| TooLarge)?;
    let length_and_kind = u32::try_from(body_length).map_err(|_| TooLarge)? | u32::from(kind) << 24;
    let frame = out.get_mut(start..).unwrap_or_default();
    patch(frame, 4, &length_and_kind.to_le_bytes());
    let checksum = identity.checksum(offset, frame.get(4..).unwrap_or_default());
    patch(frame, 0, &checksum.to_le_bytes());
    Ok(FramePlace { offset, length })
}

struct Appending<'a>(&'a mut Vec<u8>);

impl Flavor for Appending<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// What stands at a place in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RecordAt<'a> {
    /// A whole record, and where it ends.
    Whole { payload: &'a [u8], payload_offset: usize, end: usize },
    /// A record of which only the head is what was written, and where it would end.
    Broken { end: usize },
    /// None.
    Nothing,
}

/// What stands at `at` of `file`.
pub(crate) fn record_at<'a>(file: &'a [u8], at: usize, identity: &Identity) -> RecordAt<'a> {
    let Some(rest) = file.get(at..) else { return RecordAt::Nothing };
    let Some((length, checksum)) = open_head(rest, at, identity) else { return RecordAt::Nothing };
    let payload_offset = at + RECORD_HEAD_BYTES;
    let end = payload_offset.saturating_add(length);
    match file.get(payload_offset..end) {
        Some(payload) if crc32fast::hash(payload) == checksum => RecordAt::Whole { payload, payload_offset, end },
        Some(_) => RecordAt::Broken { end },
        None => RecordAt::Broken { end: file.len() },
    }
}

/// The length and the checksum of the payload behind the head that `rest` begins with.
fn open_head(rest: &[u8], at: usize, identity: &Identity) -> Option<(usize, u32)> {
    let mut fields = rest;
    if take(&mut fields)? != MARKER {
        return None;
    }
    let length = u32::from_le_bytes(take(&mut fields)?);
    let payload_checksum = u32::from_le_bytes(take(&mut fields)?);
    let head_checksum = u32::from_le_bytes(take(&mut fields)?);
    let known = identity.checksum(u64::try_from(at).ok()?, rest.get(..RECORD_HEAD_BYTES - 4)?);
    (known == head_checksum).then_some((usize::try_from(length).ok()?, payload_checksum))
}

/// Where the next whole record begins, at or behind `from`.
pub(crate) fn find_record(file: &[u8], from: usize, identity: &Identity) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = file.get(at..)?;
        at += rest.windows(MARKER.len()).position(|window| window == MARKER)?;
        match record_at(file, at, identity) {
            RecordAt::Whole { .. } => return Some(at),
            // Its head vouches for its length: nothing inside needs a look. That keeps the search linear.
            RecordAt::Broken { end } => at = end,
            RecordAt::Nothing => at += 1,
        }
    }
}

/// The frames of a whole record's `payload` that begins at `payload_offset` of its file. None when one of them can't be
/// understood. Their own checksums are left alone: the record's covers them.
pub(crate) fn frames(payload: &[u8], payload_offset: usize) -> Option<Vec<(FramePlace, Frame<'_>)>> {
    let mut found = Vec::new();
    let mut rest = payload;
    let mut offset = u64::try_from(payload_offset).ok()?;
    while !rest.is_empty() {
        let mut fields = rest;
        let _checksum: [u8; 4] = take(&mut fields)?;
        let (kind, body_length) = kind_and_length(take(&mut fields)?);
        let body = fields.get(..body_length)?;
        let length = FRAME_HEAD_BYTES + body_length;
        found.push((FramePlace { offset, length }, understand(kind, body)?));
        rest = rest.get(length..)?;
        offset += u64::try_from(length).ok()?;
    }
    Some(found)
}

/// What stands in `frame`, read alone from `offset` of its file; none when it is not what was written there.
pub(crate) fn open_frame<'a>(frame: &'a [u8], offset: u64, identity: &Identity) -> Option<Frame<'a>> {
    let mut fields = frame;
    let checksum = u32::from_le_bytes(take(&mut fields)?);
    if identity.checksum(offset, fields) != checksum {
        return None;
    }
    let (kind, body_length) = kind_and_length(take(&mut fields)?);
    if fields.len() != body_length {
        return None;
    }
    understand(kind, fields)
}

fn kind_and_length(field: [u8; 4]) -> (u8, usize) {
    let [a, b, c, kind] = field;
    (kind, usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16)
}

fn understand(kind: u8, body: &[u8]) -> Option<Frame<'_>> {
    match kind {
        KIND_EVENT => EventV1::decode(body).filter(EventV1::has_meaning).map(Frame::Event),
        KIND_GAP => GapV1::decode(body).map(Frame::Gap),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tracemq_model::{Action, ClientId, ConnectionId, Details, Event, InstanceId, Provenance, Reason, TimeMs};

    use super::*;

    fn identity(number: u32) -> Identity {
        Identity::new([9; 16], number)
    }

    fn batch(texts: &[String]) -> Batch {
        let events = texts.iter().zip(0..).map(|(text, number)| Event {
            time: TimeMs(number),
            instance: InstanceId::new("i").unwrap(),
            connection: ConnectionId(7),
            action: Action::Close,
            reason: Reason::BadTopic,
            provenance: Provenance::Observed,
            client: ClientId::new(text).ok(),
            peer: None,
            details: Details { detail: Some(text.as_str().into()), ..Details::default() },
        });
        Batch { events: events.collect(), gaps: Vec::new() }
    }

    fn encoded(batch: &Batch, identity: &Identity, offset: u64) -> (Vec<u8>, Vec<FramePlace>) {
        let (mut out, mut places) = (vec![1, 2, 3], Vec::new());
        encode_batch(batch, identity, offset, &mut out, &mut places).unwrap();
        (out, places)
    }

    #[test]
    fn a_record_is_none_in_another_file_or_place() {
        let (record, places) = encoded(&batch(&["a".to_owned()]), &identity(1), 100);
        let mut file = vec![0; 100];
        file.extend(&record);
        assert!(matches!(record_at(&file, 100, &identity(1)), RecordAt::Whole { .. }));
        assert_eq!(record_at(&file, 100, &identity(2)), RecordAt::Nothing);
        file.insert(0, 0);
        assert_eq!(record_at(&file, 101, &identity(1)), RecordAt::Nothing);
        let frame = &record[16..];
        assert!(open_frame(frame, places[0].offset, &identity(1)).is_some());
        assert!(open_frame(frame, places[0].offset, &identity(2)).is_none());
        assert!(open_frame(frame, places[0].offset + 1, &identity(1)).is_none());
    }

    #[test]
    fn an_event_that_no_frame_can_hold_is_refused() {
        let batch = batch(&["x".repeat(1 << 24)]);
        assert_eq!(encode_batch(&batch, &identity(1), 0, &mut Vec::new(), &mut Vec::new()), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn events_come_back_alone_and_with_their_record(texts in vec(".{0,40}", 0..20), offset in 48..1_000_u64) {
            let batch = batch(&texts);
            let (record, places) = encoded(&batch, &identity(1), offset);
            let mut file = vec![0; usize::try_from(offset).unwrap()];
            file.extend(&record);
            let at = usize::try_from(offset).unwrap();
            prop_assert_eq!(find_record(&file, 0, &identity(1)), Some(at));
            let RecordAt::Whole { payload, payload_offset, end } = record_at(&file, at, &identity(1)) else {
                return Err(TestCaseError::fail("no record"));
            };
            prop_assert_eq!(end, file.len());
            let frames = frames(payload, payload_offset).unwrap();
            prop_assert_eq!(frames.len(), batch.events.len());
            for ((event, place), (found, frame)) in batch.events.iter().zip(places).zip(frames) {
                prop_assert_eq!(place, found);
                let start = usize::try_from(place.offset).unwrap();
                let alone = open_frame(&file[start..start + place.length], place.offset, &identity(1));
                for frame in [Some(frame), alone] {
                    let Some(Frame::Event(stored)) = frame else { return Err(TestCaseError::fail("no event")) };
                    prop_assert_eq!(stored.to_event(), Some(event.clone()));
                }
            }
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes in vec(any::<u8>(), 0..300), at in 0..400_usize) {
            let _ = record_at(&bytes, at, &identity(1));
            let _ = find_record(&bytes, at, &identity(1));
            let _ = frames(&bytes, at);
            let _ = open_frame(&bytes, 0, &identity(1));
            let _ = understand(KIND_EVENT, &bytes);
            let _ = understand(KIND_GAP, &bytes);
            let _ = super::super::Header::decode(&bytes);
        }
    }
}
