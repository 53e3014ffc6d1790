"""Methods side by side: boards, papers, reports and their formats."""
