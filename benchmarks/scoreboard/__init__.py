"""The scoreboard: from process start to authenticated link, beside what people use today."""
