"""What Streamlit lacks, in small pieces of browser code."""
