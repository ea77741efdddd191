//! The walk itself: stretches on threads, borders between them, what is remembered and what is kept.
//!
//! In: a [`Reader`], a survey, a selection, a memory. Out: [`Walked`]. Never: keeps the carry of a segment longer than
//! something behind it waits for it; lets the order in which threads finish show in the result.
//!
//! A stretch whose predecessor is not done yet is read without a carry. Its first segments then are *open* until a record
//! that starts in them is complete: behind that, everything is as if the carry had been there. When the predecessor's
//! carry is known, the open ones are read once more from it, as far as that record, and what crossed is added to them.

use super::plan::{Plan, Stretch};
use super::{Cut, Selection, Tally, Unchecked, Walked, report};
use crate::error::{Answer, Code, Error};
use crate::pg::Lsn;
use crate::proof::facts::{Level, Memory, Outcome, Recall, SegmentFacts, SegmentProof};
use crate::proof::segment::{Border, Broken, Joined, Proven, Reader, Wanted};
use crate::proof::survey::Survey;
use crate::wal::Carry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Objects in a row that the store does not answer for, before the walk gives up: each costs a whole deadline.
const GIVES_UP_AFTER: usize = 3;

/// In place of a stretch's number: the head is of segments that were not read.
const REMEMBERED: usize = usize::MAX;

/// Why a segment is read, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is known from an earlier run.
    Remembered,
    /// Never read, not as closely, or not with success.
    New,
    /// Another version of it was good.
    Changed,
    /// Known, and its turn to be read again.
    Recheck,
}

/// What a segment came to, in all its stored forms.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) proof: SegmentProof,
    /// The further forms.
    pub(super) others: Vec<(SegmentProof, Same)>,
}

/// Is another stored form the same as the one that serves?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Same {
    Yes,
    No,
    /// One of the two could not be read.
    Unknown,
}

/// Everything that the report is made of.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) plan: Plan,
    pub(super) level: Level,
    pub(super) slots: Vec<Option<Slot>>,
    /// Borders to the one before that do not fit.
    pub(super) seams: Vec<(usize, Broken)>,
    /// Borders that could not be read.
    pub(super) unread_seams: Vec<(usize, String)>,
    /// Proven before, and other bytes now: what is different.
    pub(super) changed: Vec<(usize, String)>,
    /// Why reading ended early.
    pub(super) stopped: Option<String>,
}

/// The first segments of a stretch that was begun without a carry.
#[derive(Debug)]
struct Head {
    stretch: usize,
    before: usize,
    start: Lsn,
    open: Vec<usize>,
    /// A record of its own is complete, or nothing more comes.
    closed: bool,
}

/// What joining the open segments of a head came to.
struct JoinedHead {
    done: Vec<(usize, Joined)>,
    /// Where it ended early: the border is wrong, or it could not be read.
    end: Option<(usize, Result<Broken, String>)>,
}

enum Message {
    Read(usize, usize, Vec<Proven>),
    Ended(usize),
    Joined(Head, JoinedHead),
}

struct Run<'a> {
    reader: Reader,
    survey: &'a Survey,
    memory: &'a mut dyn Memory,
    found: Found,
    why: Vec<Why>,
    /// What was known of those that are read again.
    earlier: HashMap<usize, SegmentProof>,
    stretches: Vec<Stretch>,
    waiting: VecDeque<usize>,
    heads: Vec<Head>,
    /// Open segments that are being joined.
    joining: HashSet<usize>,
    /// How many still wait for the carry of a segment.
    wanted: HashMap<usize, usize>,
    carries: HashMap<usize, Carry>,
    tasks: JoinSet<()>,
    running: usize,
    silent: usize,
    tally: Tally,
    limit: Limit,
    /// The memory could not keep something.
    forgotten: Option<Error>,
}

/// What ends reading early. Shared with the threads.
#[derive(Clone)]
struct Limit {
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    most: u64,
}

impl Limit {
    fn is_reached(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.is_spent()
    }

    fn is_spent(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.most
    }
}

pub(super) async fn run(
    reader: Reader,
    survey: &Survey,
    selection: &Selection,
    level: Level,
    cut: Cut,
    memory: &mut dyn Memory,
) -> Answer<Walked> {
    let plan = Plan::new(survey, selection, level);
    let slots = plan.indices().map(|_| None).collect();
    let mut run = Run {
        reader,
        survey,
        memory,
        why: Vec::with_capacity(plan.nodes.len()),
        found: Found {
            plan,
            level,
            slots,
            seams: Vec::new(),
            unread_seams: Vec::new(),
            changed: Vec::new(),
            stopped: None,
        },
        earlier: HashMap::new(),
        stretches: Vec::new(),
        waiting: VecDeque::new(),
        heads: Vec::new(),
        joining: HashSet::new(),
        wanted: HashMap::new(),
        carries: HashMap::new(),
        tasks: JoinSet::new(),
        running: 0,
        silent: 0,
        tally: Tally::default(),
        limit: Limit { stop: Arc::default(), bytes: Arc::default(), most: selection.budget_bytes.unwrap_or(u64::MAX) },
        forgotten: None,
    };
    run.recall(selection)?;
    run.cut(selection, cut);
    run.all(selection, cut.workers).await?;
    run.finish()
}

impl Run<'_> {
    /// What the memory knows of each, and what must be read.
    fn recall(&mut self, selection: &Selection) -> Answer<()> {
        let count = (self.found.plan.nodes.len() as f64 * selection.recheck.clamp(0.0, 1.0)).ceil() as u64;
        let again: HashSet<_> =
            if count > 0 { self.memory.oldest(count)?.into_iter().collect() } else { HashSet::new() };
        // Their carries may be asked for much later than by the next one.
        let plan = &self.found.plan;
        let keep: HashSet<usize> = plan
            .indices()
            .filter_map(|index| plan.node(index)?.before().filter(|before| before + 1 != index))
            .collect();
        for index in self.found.plan.indices() {
            let (why, known) = self.recall_one(index, &again)?;
            self.why.push(why);
            let before = self.found.plan.node(index).and_then(|node| node.before());
            match (why, known) {
                (Why::Remembered, Some(proof)) => {
                    self.tally.remembered += 1;
                    self.put(index, proof);
                    if self.extend_head(index, before) {
                        // Part of what is joined anyway.
                    } else if let Some(before) = before.filter(|before| self.must_join(*before, index)) {
                        *self.wanted.entry(before).or_default() += 1;
                        self.lend(before);
                        let start = self.start(index);
                        let closed = self.is_own(index, start);
                        self.heads.push(Head { stretch: REMEMBERED, before, start, open: vec![index], closed });
                    }
                }
                (_, known) => {
                    if let Some(known) = known {
                        self.earlier.insert(index, known);
                    }
                    // The one before may be read in the same stretch; then this is asked for in vain, and costs nothing.
                    if let Some(before) = before
                        && self.why.get(before) == Some(&Why::Remembered)
                    {
                        self.lend(before);
                    }
                }
            }
            if let Some(last) = index.checked_sub(1).filter(|last| !keep.contains(last)) {
                self.strip(last);
            }
        }
        self.heads.iter_mut().for_each(|head| head.closed = true);
        Ok(())
    }

    /// Is a remembered segment one more of those that the last head leaves open?
    fn extend_head(&mut self, index: usize, before: Option<usize>) -> bool {
        let Some(head) = self.heads.last().filter(|head| !head.closed) else { return false };
        if head.open.last().copied() != before {
            return false;
        }
        let closed = self.is_own(index, head.start);
        if let Some(head) = self.heads.last_mut() {
            head.open.push(index);
            head.closed = closed;
        }
        true
    }

    /// A record that starts here or behind is complete at the segment's end: what lies before does not change that end.
    fn is_own(&self, index: usize, start: Lsn) -> bool {
        let last = facts(&self.found.slots, index).and_then(|facts| facts.carry.as_ref()?.last_record);
        last.is_some_and(|last| last >= start)
    }

    fn recall_one(
        &mut self,
        index: usize,
        again: &HashSet<crate::layout::ObjectKey>,
    ) -> Answer<(Why, Option<SegmentProof>)> {
        let plan = &self.found.plan;
        let Some(node) = plan.node(index).copied() else { return Ok((Why::New, None)) };
        let recall = match (plan.stored(self.survey, index), node.is_partial()) {
            ([first, ..], _) => self.memory.recall_listed(first)?,
            (_, true) => match plan.forms(self.survey, index, self.found.level).first() {
                Some(form) => self.memory.recall(&form.object)?,
                None => Recall::New,
            },
            _ => Recall::New,
        };
        Ok(match recall {
            Recall::New => (Why::New, None),
            Recall::Changed(earlier) => (Why::Changed, Some(*earlier)),
            Recall::Same(known) => {
                let good = matches!(known.outcome, Outcome::Good(_)) && known.level >= self.found.level;
                match good && node.forms() == 1 {
                    false => (Why::New, None),
                    true if again.contains(&known.object.key) => (Why::Recheck, Some(*known)),
                    true => (Why::Remembered, Some(*known)),
                }
            }
        })
    }

    /// Two remembered neighbours, or one behind another that is new: was the border ever checked as it is now?
    fn must_join(&self, before: usize, index: usize) -> bool {
        if self.found.level != Level::Records {
            return false;
        }
        match self.why.get(before) {
            Some(Why::Remembered) => {
                facts(&self.found.slots, before).is_some()
                    && facts(&self.found.slots, index).is_some_and(|facts| !facts.chained)
            }
            Some(Why::Recheck) => false,
            // Of a later number than ours: a child's file comes behind its parent's in the order of names.
            None | Some(Why::New | Why::Changed) => true,
        }
    }

    fn cut(&mut self, selection: &Selection, cut: Cut) {
        let reads = |whys: &[Why]| {
            let whys: HashSet<usize> = HashSet::from_iter(whys.iter().map(|why| *why as usize));
            let why = &self.why;
            move |index: usize| why.get(index).is_some_and(|why| whys.contains(&(*why as usize)))
        };
        let new = reads(&[Why::New, Why::Changed]);
        let count = self.found.plan.indices().filter(|index| new(*index)).count();
        let mut stretches = self.found.plan.stretches(new, count, cut);
        // With a budget, what is newest first: it is what nobody can recover without.
        if selection.budget_bytes.is_some() || selection.budget_time.is_some() {
            stretches.reverse();
        }
        let again = reads(&[Why::Recheck]);
        stretches.extend(self.found.plan.stretches(again, count, cut));
        for stretch in &stretches {
            if let Some(before) = self.before(stretch) {
                *self.wanted.entry(before).or_default() += 1;
            }
        }
        self.waiting = (0..stretches.len()).collect();
        self.stretches = stretches;
        // Lent to neighbours of which none is the first of a stretch.
        self.carries.retain(|index, _| self.wanted.contains_key(index));
    }

    fn before(&self, stretch: &Stretch) -> Option<usize> {
        self.found.plan.node(stretch.nodes.start)?.before()
    }

    async fn all(&mut self, selection: &Selection, workers: usize) -> Answer<()> {
        let (send, mut messages) = mpsc::channel(64);
        let late = tokio::time::sleep(selection.budget_time.unwrap_or(std::time::Duration::MAX / 4));
        tokio::pin!(late);
        loop {
            self.dispatch(workers, &send);
            self.settle(&send);
            if self.running == 0 && (self.waiting.is_empty() || self.limit.is_reached()) {
                // Nothing more will be read: who still waits for a carry waits in vain.
                self.waiting.clear();
                self.settle(&send);
                if self.running == 0 && self.heads.is_empty() {
                    return Ok(());
                }
            }
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Read(stretch, index, forms)) => self.read(stretch, index, forms)?,
                    Some(Message::Ended(stretch)) => {
                        self.running -= 1;
                        self.heads.iter_mut().filter(|head| head.stretch == stretch).for_each(|head| head.closed = true);
                    }
                    Some(Message::Joined(head, joined)) => {
                        self.running -= 1;
                        self.joined(head, joined);
                    }
                    None => return Err(Error::new(Code::InternalBug, "the walk lost its threads")),
                },
                Some(Err(cause)) = self.tasks.join_next() => {
                    return Err(Error::new(Code::InternalBug, "a thread of the walk died").because(cause));
                }
                () = &mut late, if selection.budget_time.is_some() && !self.limit.stop.load(Ordering::Relaxed) => {
                    self.stop(format!("the time allowed for reading, {:?}, was used up before it",
                        selection.budget_time.unwrap_or_default()));
                }
            }
            if self.limit.is_spent() && self.found.stopped.is_none() {
                self.stop(format!("the {} bytes allowed for reading were used up before it", self.limit.most));
            }
        }
    }

    fn stop(&mut self, why: String) {
        self.limit.stop.store(true, Ordering::Relaxed);
        self.found.stopped.get_or_insert(why);
    }

    /// Starts stretches while there are workers for them.
    fn dispatch(&mut self, workers: usize, send: &mpsc::Sender<Message>) {
        while self.running < workers && !self.limit.is_reached() {
            let Some(place) = self.waiting.pop_front() else { return };
            let Some(stretch) = self.stretches.get(place).cloned() else { continue };
            let mut carry = None;
            if let Some(before) = self.before(&stretch) {
                match self.carries.get(&before).cloned() {
                    Some(ready) => {
                        carry = Some(ready);
                        self.release(before);
                    }
                    None if self.comes(before) => {
                        let start = self.start(stretch.nodes.start);
                        self.heads.push(Head { stretch: place, before, start, open: Vec::new(), closed: false });
                    }
                    None => self.release(before),
                }
            }
            let forms: Vec<(usize, Vec<Wanted>)> = stretch
                .nodes
                .map(|index| (index, self.found.plan.forms(self.survey, index, self.found.level)))
                .collect();
            let (reader, limit, send) = (self.reader.clone(), self.limit.clone(), send.clone());
            self.running += 1;
            self.tasks.spawn_blocking(move || read_stretch(&reader, place, forms, carry, &limit, &send));
        }
    }

    /// Will this one's carry be known at some time?
    fn comes(&self, index: usize) -> bool {
        match self.found.slots.get(index) {
            Some(None) => self.running > 0 || !self.waiting.is_empty(),
            _ => self.joining.contains(&index) || self.heads.iter().any(|head| head.open.contains(&index)),
        }
    }

    /// Joins what is ready to be joined.
    fn settle(&mut self, send: &mpsc::Sender<Message>) {
        let mut place = 0;
        while let Some(head) = self.heads.get(place) {
            let carry = self.carries.get(&head.before);
            let ready = head.closed && (carry.is_some() || !self.comes(head.before));
            if !ready {
                place += 1;
                continue;
            }
            let carry = carry.cloned();
            let head = self.heads.remove(place);
            self.release(head.before);
            let related = |carry: &Carry| {
                let first = head.open.first().and_then(|index| facts(&self.found.slots, *index));
                first.is_some_and(|facts| {
                    facts.system == Some(carry.shape.system) && facts.size == carry.shape.segment_size
                })
            };
            match carry.filter(related) {
                Some(carry) => self.join(head, carry, send),
                None => self.close(&head),
            }
            place = 0;
        }
    }

    fn join(&mut self, head: Head, carry: Carry, send: &mpsc::Sender<Message>) {
        let forms: Vec<(usize, Wanted)> = head
            .open
            .iter()
            .filter(|index| facts(&self.found.slots, **index).is_some())
            .filter_map(|index| {
                let key = self.found.slots.get(*index)?.as_ref().map(|slot| slot.proof.object.key.clone())?;
                let forms = self.found.plan.forms(self.survey, *index, self.found.level);
                Some((*index, forms.into_iter().find(|form| form.object.key == key)?))
            })
            .collect();
        let (reader, send) = (self.reader.clone(), send.clone());
        self.running += 1;
        self.joining.extend(&head.open);
        self.tasks.spawn_blocking(move || {
            let joined = join_head(&reader, forms, carry);
            let _ = send.blocking_send(Message::Joined(head, joined));
        });
    }

    /// The open segments were joined, as far as that was possible.
    fn joined(&mut self, head: Head, joined: JoinedHead) {
        for (index, joined) in joined.done {
            if let Some(facts) = facts_mut(&mut self.found.slots, index) {
                crate::proof::segment::apply(joined, facts);
            }
        }
        if let Some((index, why)) = joined.end {
            if let Some(facts) = facts_mut(&mut self.found.slots, index) {
                facts.chained = false;
            }
            match why {
                Ok(broken) => self.found.seams.push((index, broken)),
                Err(what) => self.found.unread_seams.push((index, what)),
            }
        }
        self.close(&head);
    }

    /// Nothing more is to be learnt about these.
    fn close(&mut self, head: &Head) {
        for index in &head.open {
            self.joining.remove(index);
            self.done(*index);
        }
    }

    /// A segment was read, in all its forms.
    fn read(&mut self, stretch: usize, index: usize, forms: Vec<Proven>) -> Answer<()> {
        self.tally.objects += forms.len() as u64;
        self.tally.bytes += forms.iter().map(|form| form.stored_bytes).sum::<u64>();
        for form in &forms {
            self.silent = if form.no_answer { self.silent + 1 } else { 0 };
            if self.silent >= GIVES_UP_AFTER
                && let Outcome::Unknown { what } = &form.proof.outcome
            {
                self.stop(format!("the store gives no answer: {what}"));
            }
        }
        let Some(serving) = serving(&forms) else { return Ok(()) };
        let mut others = Vec::new();
        let mut chosen = None;
        let digest = forms.get(serving).and_then(|form| form.digest);
        for (place, form) in forms.into_iter().enumerate() {
            if place == serving {
                chosen = Some(form);
                continue;
            }
            let same = match (digest, form.digest) {
                (Some(one), Some(other)) if one == other => Same::Yes,
                _ if matches!(form.proof.outcome, Outcome::Unknown { .. }) => Same::Unknown,
                _ => Same::No,
            };
            others.push((form.proof, same));
        }
        let Some(chosen) = chosen else { return Ok(()) };
        if let Some(broken) = chosen.seam {
            self.found.seams.push((index, broken));
        }
        if let Some(slot) = self.found.slots.get_mut(index) {
            *slot = Some(Slot { proof: chosen.proof, others });
        }
        let head = self.heads.iter().find(|head| head.stretch == stretch && !head.closed);
        let whole = head.is_some_and(|head| self.is_own(index, head.start));
        let good = facts(&self.found.slots, index).is_some();
        match self.heads.iter_mut().find(|head| head.stretch == stretch && !head.closed) {
            Some(head) => {
                head.open.push(index);
                head.closed = whole || !good;
                if whole {
                    // Its end does not depend on what comes before it.
                    self.lend(index);
                }
            }
            None => self.done(index),
        }
        Ok(())
    }

    /// Against what was known of it.
    fn compare(&mut self, index: usize) {
        let Some(Some(Slot { proof: now, .. })) = self.found.slots.get(index) else { return };
        let Some(earlier) = self.earlier.remove(&index) else { return };
        match (self.why.get(index), &earlier.outcome, &now.outcome) {
            (Some(Why::Changed), ..) => {
                let what = match &now.outcome {
                    Outcome::Good(_) => {
                        "it was proven before, and is another version now, which is good too".to_owned()
                    }
                    Outcome::Damaged { .. } => {
                        "it was proven before, and is another version now, which is damaged".to_owned()
                    }
                    Outcome::Unknown { .. } => {
                        "it was proven before, and is another version now, which cannot be read".to_owned()
                    }
                };
                self.found.changed.push((index, what));
            }
            (_, Outcome::Good(then), Outcome::Good(now)) => {
                self.tally.rechecked += 1;
                let ends_alike = then.carry == now.carry && then.size == now.size && then.system == now.system;
                let holds_alike = (then.records, then.times, &then.marks) == (now.records, now.times, &now.marks);
                // What follows nobody, for the time being, shows less than it holds.
                if then.chained == now.chained && !(ends_alike && holds_alike) {
                    self.found.changed.push((index, "it was proven before, and holds other WAL now".to_owned()));
                }
            }
            (_, Outcome::Good(_), Outcome::Damaged { .. }) => {
                self.tally.rechecked += 1;
                self.found.changed.push((index, "it was proven before, and is damaged now".to_owned()));
            }
            _ => {}
        }
    }

    fn put(&mut self, index: usize, proof: SegmentProof) {
        if let Some(slot) = self.found.slots.get_mut(index) {
            *slot = Some(Slot { proof, others: Vec::new() });
        }
    }

    /// Nothing more will be learnt of this one: remember it, lend its carry to whoever waits for it, drop it.
    fn done(&mut self, index: usize) {
        self.compare(index);
        self.lend(index);
        if let Some(Some(slot)) = self.found.slots.get(index)
            && let Err(error) = self.memory.remember(&slot.proof)
        {
            self.forgotten.get_or_insert(error);
        }
        self.strip(index);
    }

    /// Keeps the carry for those that wait for it; unless it will be another one yet.
    fn lend(&mut self, index: usize) {
        let open = |head: &Head| head.open.contains(&index) && !self.is_own(index, head.start);
        if self.heads.iter().any(open) || self.joining.contains(&index) {
            return;
        }
        let carry = facts(&self.found.slots, index).and_then(|facts| facts.carry.as_deref()).cloned();
        let planned = !self.stretches.is_empty();
        if let Some(carry) = carry.filter(|_| !planned || self.wanted.contains_key(&index)) {
            self.carries.insert(index, carry);
        }
    }

    /// One fewer waits for the carry.
    fn release(&mut self, index: usize) {
        if let Some(count) = self.wanted.get_mut(&index) {
            *count -= 1;
            if *count == 0 {
                self.wanted.remove(&index);
                self.carries.remove(&index);
            }
        }
    }

    fn strip(&mut self, index: usize) {
        let open = self.joining.contains(&index) || self.heads.iter().any(|head| head.open.contains(&index));
        if let Some(facts) = facts_mut(&mut self.found.slots, index).filter(|_| !open) {
            facts.carry = None;
        }
    }

    /// LSN of its first byte.
    fn start(&self, index: usize) -> Lsn {
        let number = self.found.plan.node(index).and_then(|node| node.number);
        number.and_then(|number| number.start(self.found.plan.size)).unwrap_or(Lsn::ZERO)
    }

    fn finish(mut self) -> Answer<Walked> {
        if let Some(error) = self.forgotten.take() {
            return Err(error);
        }
        // What should have been read again, and was not: what is known of it still holds.
        for (index, known) in std::mem::take(&mut self.earlier) {
            if self.why.get(index) == Some(&Why::Recheck) && self.found.slots.get(index).is_some_and(Option::is_none) {
                self.tally.not_rechecked += 1;
                self.tally.remembered += 1;
                self.put(index, known);
            }
        }
        for index in self.found.plan.indices() {
            self.strip(index);
        }
        self.found.seams.sort_by_key(|(index, _)| *index);
        self.found.unread_seams.sort_by_key(|(index, _)| *index);
        self.found.changed.sort_by_key(|(index, _)| *index);
        let mut unchecked = Unchecked::default();
        if self.found.level == Level::Records {
            for index in self.found.plan.whole_ones() {
                if let Some(facts) = facts(&self.found.slots, index) {
                    unchecked.segments += u64::from(!facts.chained);
                    unchecked.head_bytes += facts.unchecked_head;
                }
            }
        }
        Ok(report::report(&*self.reader.store, self.survey, self.found, self.tally, unchecked))
    }
}

/// The facts of a segment that was read and is good.
pub(super) fn facts(slots: &[Option<Slot>], index: usize) -> Option<&SegmentFacts> {
    match &slots.get(index)?.as_ref()?.proof.outcome {
        Outcome::Good(facts) => Some(facts),
        _ => None,
    }
}

fn facts_mut(slots: &mut [Option<Slot>], index: usize) -> Option<&mut SegmentFacts> {
    match &mut slots.get_mut(index)?.as_mut()?.proof.outcome {
        Outcome::Good(facts) => Some(facts),
        _ => None,
    }
}

/// Which form wal-fetch would deliver: the first good one. A store that gives no answer ends its search.
fn serving(forms: &[Proven]) -> Option<usize> {
    let decisive = |form: &Proven| form.no_answer || matches!(form.proof.outcome, Outcome::Good(_));
    let unknown = |form: &Proven| matches!(form.proof.outcome, Outcome::Unknown { .. });
    forms.iter().position(decisive).or_else(|| forms.iter().position(unknown)).or((!forms.is_empty()).then_some(0))
}

/// One stretch, on a thread of its own.
fn read_stretch(
    reader: &Reader,
    place: usize,
    nodes: Vec<(usize, Vec<Wanted>)>,
    mut carry: Option<Carry>,
    limit: &Limit,
    send: &mpsc::Sender<Message>,
) {
    for (index, forms) in nodes {
        if limit.is_reached() {
            break;
        }
        let mut read = Vec::with_capacity(forms.len());
        for form in &forms {
            let proven = reader.read(form, carry.as_ref());
            limit.bytes.fetch_add(proven.stored_bytes, Ordering::Relaxed);
            read.push(proven);
        }
        carry = match serving(&read).and_then(|serving| read.get(serving)).map(|form| &form.proof.outcome) {
            Some(Outcome::Good(facts)) => facts.carry.as_deref().cloned(),
            _ => None,
        };
        if send.blocking_send(Message::Read(place, index, read)).is_err() {
            return;
        }
    }
    let _ = send.blocking_send(Message::Ended(place));
}

/// The open segments of a stretch, from the carry of the one before it.
fn join_head(reader: &Reader, nodes: Vec<(usize, Wanted)>, mut carry: Carry) -> JoinedHead {
    let own = carry.lsn;
    let mut done = Vec::new();
    for (index, wanted) in nodes {
        match reader.border(&wanted, carry.clone(), own) {
            Border::Whole(joined) => {
                done.push((index, joined));
                break;
            }
            Border::Open(joined) => {
                carry = joined.carry.clone().unwrap_or(carry);
                done.push((index, joined));
            }
            Border::Broken(broken) => return JoinedHead { done, end: Some((index, Ok(broken))) },
            Border::Unknown(what) => return JoinedHead { done, end: Some((index, Err(what))) },
        }
    }
    JoinedHead { done, end: None }
}
