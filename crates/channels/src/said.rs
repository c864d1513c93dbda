//! What providers say, made fit for journals and logs.

/// The longest text that is kept of an answer.
const MAX_CHARS: usize = 300;

/// One short line without control characters, e-mail addresses and telephone numbers: providers like to repeat whom
/// they refused.
pub(crate) fn tidy(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).map(mask);
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > 4 * MAX_CHARS {
            break;
        }
    }
    line.chars().take(MAX_CHARS).collect()
}

fn mask(word: &str) -> &str {
    if word.contains('@') {
        return "<address>";
    }
    if is_number_of_a_person(word) { "<number>" } else { word }
}

/// An international number however it is punctuated, or ten digits and more in a row.
fn is_number_of_a_person(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let letters = word.chars().any(char::is_alphabetic);
    !letters && (digits >= 10 || (digits >= 7 && word.contains('+')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_are_masked_and_the_rest_is_kept() {
        assert_eq!(tidy("5.1.1 <ada@example.com>: user\r\n unknown"), "5.1.1 <address> user unknown");
        assert_eq!(tidy("The 'To' number +15005550001 is invalid"), "The 'To' number <number> is invalid");
        assert_eq!(tidy("to '15005550001'."), "to <number>");
        assert_eq!(tidy("queued as 4Bq2f7123456789 in 250 ms"), "queued as 4Bq2f7123456789 in 250 ms");
    }

    proptest! {
        #[test]
        fn the_result_is_one_short_line_without_addresses(text in any::<String>()) {
            let line = tidy(&text);
            prop_assert!(line.chars().count() <= MAX_CHARS);
            prop_assert!(line.chars().all(|c| !c.is_control() && c != '@'));
        }
    }
}
