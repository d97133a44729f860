//! Order among few things: what an application consists of is counted in tens.
//!
//! The standard's ordered map is some six thousand lines of LLVM IR for each type that it holds and its sort two and a half thousand, and
//! everybody who builds an application compiles them. A `Vec` in order is a hundred. Finding is as fast, adding moves what stands
//! behind: not for what grows with the number of messages.

use std::borrow::Borrow;
use std::cmp::Ordering;

/// Puts items in order; those that are equal stay as they stand.
pub fn sort_by<T>(items: &mut Vec<T>, order: impl Fn(&T, &T) -> Ordering) {
    for next in 1..items.len() {
        let place = items[..next].partition_point(|before| order(before, &items[next]) != Ordering::Greater);
        if place < next {
            let item = items.remove(next);
            items.insert(place, item);
        }
    }
}

/// A map in the order of its keys.
#[derive(Debug, Clone)]
pub struct FewByKey<K, V>(Vec<(K, V)>);

impl<K, V> Default for FewByKey<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> FewByKey<K, V> {
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(there, _)| there.borrow().cmp(key))
    }

    /// Returns what was there under this key.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (key, value));
                None
            }
        }
    }

    /// What is there under this key, else what `new` makes.
    pub fn get_or_insert_with(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        let place = match self.place(&key) {
            Ok(place) => place,
            Err(place) => {
                self.0.insert(place, (key, new()));
                place
            }
        };
        &mut self.0[place].1
    }

    /// What is there under this key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        Some(&self.0[self.place(key).ok()?].1)
    }

    /// Whether anything is there under this key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    /// Takes out what is there under this key.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        Some(self.0.remove(self.place(key).ok()?).1)
    }

    /// The entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Ord, V> Extend<(K, V)> for FewByKey<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for FewByKey<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut few = Self::default();
        few.extend(entries);
        few
    }
}

impl<K, V> IntoIterator for FewByKey<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A set in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Few<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Few<T> {
    /// Returns whether it was not there yet.
    pub fn insert(&mut self, item: T) -> bool {
        let place = self.0.binary_search(&item);
        if let Err(place) = place {
            self.0.insert(place, item);
        }
        place.is_err()
    }
}

impl<T: Ord> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            self.insert(item);
        }
    }
}

impl<T: Ord> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut few = Self::default();
        few.extend(items);
        few
    }
}

/// What stands in it is in order, and only read.
impl<T> std::ops::Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> Few<T> {
    /// Keeps what `keep` says.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
    }

    /// The items, in order.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_items_stay_as_they_stand() {
        let mut items = vec![(2, 'a'), (1, 'b'), (2, 'c'), (0, 'd'), (1, 'e')];
        sort_by(&mut items, |a, b| a.0.cmp(&b.0));
        assert_eq!(items, [(0, 'd'), (1, 'b'), (1, 'e'), (2, 'a'), (2, 'c')]);
    }

    #[test]
    fn a_map_is_in_order_and_has_each_key_once() {
        let mut few: FewByKey<String, u32> =
            [("b", 1), ("a", 2), ("b", 3)].map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        assert_eq!((few.get("b"), few.get("c"), few.contains_key("a")), (Some(&3), None, true));
        *few.get_or_insert_with("c".to_owned(), || 4) += 1;
        assert_eq!((few.remove("a"), few.remove("a"), few.insert("b".to_owned(), 6)), (Some(2), None, Some(3)));
        assert_eq!(few.keys().map(String::as_str).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(few.into_iter().collect::<Vec<_>>(), [("b".to_owned(), 6), ("c".to_owned(), 5)]);
    }

    #[test]
    fn a_set_is_in_order_and_has_each_item_once() {
        let mut few: Few<u32> = [3, 1, 3, 2].into_iter().collect();
        assert_eq!((few.insert(2), few.insert(0), &*few), (false, true, &[0, 1, 2, 3][..]));
        few.retain(|item| item % 2 == 1);
        assert_eq!(few.into_vec(), [1, 3]);
    }
}
