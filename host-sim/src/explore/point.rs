//! Every way to cut the power at one request, by name.

use std::fmt;
use std::str::FromStr;

use super::medium::Medium;
use crate::disk::{Cut, Tear};
use crate::engine::MachineRequest;

/// How the power was cut, and what a cache made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) cut: Cut,
    pub(super) loss: Loss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// There is no cache, or all of it still reached the disk in order.
    Nothing,
    All,
    /// Only the last so many requests reached the disk.
    Newest(usize),
    /// Only what was for the disk of this number reached it.
    Only(u8),
    Random(u64),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cut {
            Cut::Before => f.write_str("before")?,
            Cut::After => f.write_str("after")?,
            Cut::Torn(Tear::Prefix(bytes)) => write!(f, "prefix{bytes}")?,
            Cut::Torn(Tear::Suffix(bytes)) => write!(f, "suffix{bytes}")?,
            Cut::Torn(Tear::Mixed(seed)) => write!(f, "mixed{seed}")?,
        }
        match self.loss {
            Loss::Nothing => Ok(()),
            Loss::All => f.write_str("-lost"),
            Loss::Newest(count) => write!(f, "-newest{count}"),
            Loss::Only(disk) => write!(f, "-only{disk}"),
            Loss::Random(seed) => write!(f, "-lost{seed}"),
        }
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a way to cut the power");
        let (cut, loss) = text.split_once('-').unwrap_or((text, ""));
        let number = |prefix: &str| loss.strip_prefix(prefix).and_then(|rest| rest.parse().ok());
        let loss = match loss {
            "" => Loss::Nothing,
            "lost" => Loss::All,
            _ => number("lost")
                .map(Loss::Random)
                .or_else(|| number("newest").map(|count| Loss::Newest(count as usize)))
                .or_else(|| number("only").map(|disk| Loss::Only(disk as u8)))
                .ok_or_else(bad)?,
        };
        let tear = |prefix: &str| cut.strip_prefix(prefix).and_then(|rest| rest.parse().ok());
        let cut = match cut {
            "before" => Cut::Before,
            "after" => Cut::After,
            _ => Cut::Torn(
                tear("prefix")
                    .map(Tear::Prefix)
                    .or_else(|| tear("suffix").map(Tear::Suffix))
                    .or_else(|| tear("mixed").map(Tear::Mixed))
                    .ok_or_else(bad)?,
            ),
        };
        Ok(Self { cut, loss })
    }
}

/// Every way to cut the power at a request.
pub(super) fn points(act: &MachineRequest, medium: &Medium, tears: usize) -> Vec<Point> {
    let granule = u64::from(medium.geometry.write_granule_bytes);
    let mut cuts = vec![Cut::Before, Cut::After];
    let mut tear = |tear: Tear| cuts.push(Cut::Torn(tear));
    match act {
        MachineRequest::Write(_, bytes) => {
            let count = (bytes.len() as u64 / granule) as usize;
            for at in spread(count.saturating_sub(1), tears) {
                let done = (at as u64 + 1) * granule;
                tear(Tear::Prefix(done));
                tear(Tear::Suffix(done));
            }
            if granule > 1 {
                for at in spread(count, tears) {
                    let done = at as u64 * granule + 1 + at as u64 % (granule - 1);
                    tear(Tear::Prefix(done));
                    tear(Tear::Suffix(done));
                }
            }
            (0..4).for_each(|seed| tear(Tear::Mixed(seed)));
        }
        MachineRequest::Erase(_, len) if medium.geometry.erased.is_some() => {
            for eighth in 1..8 {
                tear(Tear::Prefix(len * eighth / 8 + eighth % 2));
                tear(Tear::Suffix(len * eighth / 8 + eighth % 2));
            }
            (0..4).for_each(|seed| tear(Tear::Mixed(seed)));
        }
        _ => {}
    }
    let mut losses = vec![Loss::Nothing];
    if medium.has_cache {
        losses.extend([Loss::All, Loss::Newest(1), Loss::Newest(2)]);
        losses.extend((0..3).map(Loss::Random));
    }
    if medium.is_pair() {
        losses.extend([Loss::Only(0), Loss::Only(1)]);
    }
    let with = |cut: Cut| losses.iter().map(move |loss| Point { cut, loss: *loss });
    cuts.into_iter().flat_map(with).collect()
}

/// At most `most` of the numbers below `count`, evenly, the first and the last included.
fn spread(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let taken = count.min(most);
    (0..taken).map(move |at| if taken < 2 { at } else { at * (count - 1) / (taken - 1) })
}

/// The row of the table that speaks of this point.
pub(super) fn row(act: &MachineRequest, point: Point) -> &'static str {
    match (point.loss, point.cut, act) {
        (Loss::All | Loss::Newest(_) | Loss::Only(_) | Loss::Random(_), ..) => {
            "cache lost or reordered"
        }
        (Loss::Nothing, Cut::Torn(_), MachineRequest::Erase(..)) => "torn erase",
        (Loss::Nothing, Cut::Torn(_), _) => "torn write",
        (Loss::Nothing, Cut::Before | Cut::After, _) => "power cut before or after a request",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::medium::media;
    use super::*;

    /// What is counted twice would count for nothing.
    #[test]
    fn no_two_points_of_an_instant_are_the_same() {
        let bytes = |len: usize| MachineRequest::Write(0, vec![0; len].into());
        for medium in media() {
            let unit = medium.geometry.write_granule_bytes as usize;
            for act in
                [bytes(unit), bytes(2 * unit), bytes(32 * unit), MachineRequest::Erase(0, 4096)]
            {
                for tears in [0, 1, 2, 3, 16, 160, usize::MAX] {
                    let points = points(&act, &medium, tears);
                    let names: HashSet<_> = points.iter().map(Point::to_string).collect();
                    assert_eq!(names.len(), points.len(), "{}, {tears} tears", medium.name);
                    assert!(points.len() >= 2);
                }
            }
        }
    }
}
