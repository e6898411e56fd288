//! Rules: two spellings of one function, with the law that makes them equal.

use super::EGraph;
use super::pattern::{Bindings, Pattern, parse};
use super::site::Site;
use crate::FpMode;
use egg::Id;

/// How far the two sides of a rule agree in floating point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum FpClass {
    /// Every bit, the sign of zero and the payload of NaN aside.
    Exact,
    /// Up to rounding, and up to overflow on the way to a finite result.
    Reassociating,
    /// Up to an error that is stated in the law.
    #[expect(dead_code, reason = "no rule is approximate yet")]
    Approximate,
}

impl FpClass {
    /// Whether rules of this class run in `mode`.
    pub(crate) fn runs_in(self, mode: FpMode) -> bool {
        match self {
            FpClass::Exact => true,
            FpClass::Reassociating => mode >= FpMode::Default,
            FpClass::Approximate => mode >= FpMode::Fast,
        }
    }
}

/// The other side of a rule.
pub(crate) enum Right {
    /// As a pattern over the left side's names.
    Pattern(Pattern),
    /// Built by a function; `None` where the rule does not apply.
    Build(fn(&mut Site) -> Option<Id>),
}

impl From<&'static str> for Right {
    fn from(text: &'static str) -> Right {
        Right::Pattern(parse(text))
    }
}

/// The right side that `right` builds.
pub(crate) fn build(right: fn(&mut Site) -> Option<Id>) -> Right {
    Right::Build(right)
}

/// A rewrite rule.
pub(crate) struct Rule {
    /// Its name in reports.
    pub(crate) name: &'static str,
    /// Why both sides are equal.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests and documentation read it"))]
    pub(crate) law: &'static str,
    /// How far they are.
    pub(crate) class: FpClass,
    /// What it matches.
    pub(crate) left: Pattern,
    /// What that equals.
    pub(crate) right: Right,
    /// On what condition.
    pub(crate) when: fn(&Site) -> bool,
}

impl Rule {
    /// The matches of the left side at a class.
    pub(crate) fn search(&self, egraph: &EGraph, id: Id) -> Vec<Bindings> {
        self.left.search(egraph, id)
    }

    /// Adds the right side for a match and returns its class; `None` if the rule does not apply after all. The sides
    /// must have one type.
    pub(crate) fn build(&self, egraph: &mut EGraph, root: Id, bindings: &Bindings) -> Option<Id> {
        egraph.analysis.location = egraph[root].data.location;
        let mut site = Site { egraph, pattern: &self.left, bindings, root };
        if !(self.when)(&site) {
            return None;
        }
        let id = match &self.right {
            Right::Pattern(right) => site.instantiate(right, &right.root)?,
            Right::Build(build) => build(&mut site)?,
        };
        (site.facts(id).types == site.facts(root).types).then_some(id)
    }
}

/// A table of rules: class, name, left side, right side and condition, with the law as documentation.
macro_rules! rules {
    ($(
        #[doc = $law:literal]
        $class:ident $name:literal: $left:literal => $right:expr $(, if $when:expr)?;
    )*) => {
        /// The rules of this topic.
        pub(super) fn rules() -> Vec<$crate::egraph::rule::Rule> {
            use $crate::egraph::rule::FpClass::*;
            vec![$($crate::egraph::rule::Rule {
                name: $name,
                law: $law,
                class: $class,
                left: $crate::egraph::pattern::parse($left),
                right: ($right).into(),
                when: {
                    let when: fn(&$crate::egraph::site::Site) -> bool = |_| true;
                    $(let _ = when; let when: fn(&$crate::egraph::site::Site) -> bool = $when;)?
                    when
                },
            },)*]
        }
    };
}
pub(crate) use rules;
