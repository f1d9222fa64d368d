//! What a network says of samples whose classes are known.

/// More classes than these make no matrix that anybody reads.
const MOST_CLASSES: usize = 256;

/// The class found for each sample of a part, beside the one that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    classes: usize,
    /// Label and class of each sample.
    pairs: Vec<[u16; 2]>,
}

impl Evaluation {
    /// An evaluation of nothing, by a network of so many classes.
    pub(crate) const fn new(classes: usize) -> Self {
        Self {
            classes,
            pairs: Vec::new(),
        }
    }

    /// The next sample has this label, and was taken for this class.
    pub(crate) fn push(&mut self, label: u16, class: u16) {
        self.pairs.push([label, class]);
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The class that sample `index` has.
    #[must_use]
    pub fn label(&self, index: usize) -> Option<u16> {
        self.pairs.get(index).map(|&[label, _]| label)
    }

    /// The class that sample `index` was taken for.
    #[must_use]
    pub fn class(&self, index: usize) -> Option<u16> {
        self.pairs.get(index).map(|&[_, class]| class)
    }

    /// Samples that were recognised.
    #[must_use]
    pub fn right(&self) -> usize {
        let pairs = self.pairs.iter();
        pairs.filter(|[label, class]| label == class).count()
    }

    /// Share of the samples that were recognised; 0 of none.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.right() as f64 / self.len().max(1) as f64
    }

    /// How often a sample of class row was taken for class column; `None` for more than 256 classes.
    ///
    /// # Example
    /// ```
    /// # use selvedge::{DType, data::DataSet, training::{Settings, train}};
    /// let outcome = train(DType::I8, &DataSet::digits(), Settings { epochs: 1, seed: 1 }, &|_| ())?;
    /// let confusion = outcome.test.confusion().unwrap();
    /// let right: u32 = (0..10).map(|class| confusion[class][class]).sum();
    /// assert_eq!(right as usize, outcome.test.right());
    /// # Ok::<(), selvedge::Error>(())
    /// ```
    #[must_use]
    pub fn confusion(&self) -> Option<Vec<Vec<u32>>> {
        if self.classes > MOST_CLASSES {
            return None;
        }
        let mut rows = vec![vec![0; self.classes]; self.classes];
        for pair in &self.pairs {
            let [label, class] = pair.map(usize::from);
            if let Some(count) = rows.get_mut(label).and_then(|row| row.get_mut(class)) {
                *count += 1;
            }
        }
        Some(rows)
    }
}
