//! The story: score one request, no broker in sight.
