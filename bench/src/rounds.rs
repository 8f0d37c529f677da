//! What many rounds say together.

/// The one in the middle: neither the best moment of a machine nor its worst.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
